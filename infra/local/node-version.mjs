/** Whether a range like `>=20.20 <25`, as `engines` of package.json has it, allows a version. Plain Node: it is asked before anything is installed. */
export function allowsNode(range, version) {
  return range.split(" ").every((part) => {
    const [, operator, bound] = /^(>=|<)(\d+(?:\.\d+){0,2})$/.exec(part) ?? [];
    if (bound === undefined) throw new Error(`engines.node holds ${JSON.stringify(part)}: only >= and < are understood`);
    const order = compare(version.split(".").map(Number), bound.split(".").map(Number));
    return operator === ">=" ? order >= 0 : order < 0;
  });
}

function compare(a, b) {
  for (let i = 0; i < 3; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
