/**
 * Built-ins that could hold or kill the process with the package's implementation: loops that never end, quadratic copies, huge texts,
 * regexes that backtrack. Used by compiled code and bound over the package's own in the fallback.
 */
import { type BuiltinName, builtins } from "../builtins.ts";
import { JsonataFailure } from "../failure.ts";
import { deepEqual, isNumeric, measured } from "./operators.ts";
import type { Run } from "./run.ts";
import { append, createSequence, isMembers, isValues, type Values } from "./values.ts";

export type Implementation = (run: Run, a?: unknown, b?: unknown, c?: unknown, d?: unknown) => unknown;

export const guardedBuiltins = {
  pad: (run, text, width, filler) => {
    if (text !== undefined && typeof width === "number" && Math.abs(width) > run.maxStringLength)
      throw new JsonataFailure("D2015", { value: width, message: "the padded text is too long" });
    return builtins().pad.implementation.call(undefined, text, width, filler);
  },
  string: (run, value, prettify) => builtins().string.implementation.call(undefined, measured(value, run), prettify),
  join: (run, texts, separator) => {
    let length = 0;
    for (const text of isValues(texts) ? texts : []) length += String(text).length + (typeof separator === "string" ? separator.length : 0);
    if (length > run.maxStringLength) throw new JsonataFailure("D2015", { value: length, message: "the joined text is too long" });
    return builtins().join.implementation.call(undefined, texts, separator);
  },
  formatInteger: (_run, value, picture) => {
    isNumeric(value); // Infinity has endless letters
    return builtins().formatInteger.implementation.call(undefined, value, picture);
  },
  formatNumber: (_run, value, picture, options) => {
    if (value === undefined) return undefined;
    isNumeric(value); // Infinity has no mantissa
    const separator = isMembers(options) ? options["grouping-separator"] : undefined;
    if ((isValues(separator) ? separator.join() : separator) === "") {
      throw new JsonataFailure("T0410", { value: separator, message: "the grouping-separator of $formatNumber is empty" }); // it is found everywhere
    }
    return builtins().formatNumber.implementation.call(undefined, value, picture, options);
  },
  toMillis: (run, text, picture) => {
    if (typeof text === "string" && typeof picture === "string") checkPicture(text, picture);
    return builtins().toMillis.implementation.call({ environment: { timestamp: new Date(run.timeUnixMs) } }, text, picture);
  },
  append: (run, first, second) => {
    if (first === undefined) return second;
    if (second === undefined) return first;
    const result = append(first, second);
    const length = isValues(result) ? result.length : 1;
    if (length > run.maxSequenceLength) throw new JsonataFailure("D2015", { value: length });
    run.spend(1 + (length >> 5)); // each call copies both
    return result;
  },
  spread: (run, value) => spread(value, run),
  distinct: (run, values) => {
    if (!isValues(values) || values.length <= 1) return values;
    const kept: Values = values.sequence === true ? createSequence() : [];
    const scalars = new Set<unknown>();
    for (const value of values) if (!isKnown(value, kept, scalars, run)) kept.push(value);
    return kept;
  },
} satisfies Partial<Record<BuiltinName, Implementation>>;

/** The package turns a picture into a backtracking regex. Parts that nothing separates can share their text in that many ways. */
function checkPicture(text: string, picture: string): void {
  const literals = picture.split(/\[[^\]]*\]/).slice(1, -1);
  const isWords = /\[[A-Za-z][^\]]*[wW]/.test(picture);
  const joints = literals.filter((literal) => isWords || /^[A-Za-z0-9]*$/.test(literal)).length;
  let ways = 1;
  for (let i = 0; i < joints; i++) ways *= Math.max(1, text.length - i) / (i + 1);
  if (ways > 1e6)
    throw new JsonataFailure("D3136", {
      value: text,
      message: "the text is too long for a picture whose parts follow each other without separators",
    });
}

function spread(value: unknown, run: Run): unknown {
  run.spend(1);
  if (isValues(value)) {
    let result = createSequence();
    for (const item of value) {
      const inner = spread(item, run);
      if (inner === undefined) continue;
      if (result.sequence === true) result = []; // joined arrays are no sequence
      if (isValues(inner)) for (const one of inner) result.push(one);
      else result.push(inner);
    }
    return result;
  }
  if (!isMembers(value)) return value;
  const result = createSequence();
  for (const [member, inner] of Object.entries(value)) result.push(Object.assign(Object.create(null), { [member]: inner }));
  return result;
}

/** Scalars by hash; objects by comparison with each other, which costs steps. NaN differs from itself. */
function isKnown(value: unknown, kept: Values, scalars: Set<unknown>, run: Run): boolean {
  if (typeof value !== "object" || value === null) {
    if (scalars.has(value) && !Number.isNaN(value)) return true;
    scalars.add(value);
    return false;
  }
  run.spend(kept.length);
  return kept.some((other) => deepEqual(value, other, run));
}
