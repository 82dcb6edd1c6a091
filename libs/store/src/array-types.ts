/**
 * The array types of Postgres itself, given to the driver instead of letting it ask for them.
 *
 * Why: the driver (3.4.9) asks on every new connection, in a promise that nobody listens to: a server that dies just then ends our process by an unhandled
 * rejection. With `fetch_types: false` it does not ask, and then reads no arrays but those given here. Their numbers never change (pg_type.dat).
 */

type ArrayType = {
  readonly to: number;
  readonly from: number[];
  readonly serialize: (value: unknown) => string;
  readonly parse: (text: string) => unknown[];
};

const text = (value: string): unknown => value;
const json = (value: string): unknown => JSON.parse(value);

/** By name: the number of the array type and what an element becomes, as the driver reads it alone. */
const KNOWN: Readonly<Record<string, readonly [oid: number, element: (text: string) => unknown]>> = {
  boolArray: [1000, (value) => value === "t"],
  byteaArray: [1001, (value) => Buffer.from(value.slice(2), "hex")],
  nameArray: [1003, text],
  int2Array: [1005, Number],
  int4Array: [1007, Number],
  textArray: [1009, text],
  varcharArray: [1015, text],
  int8Array: [1016, BigInt],
  float4Array: [1021, Number],
  float8Array: [1022, Number],
  oidArray: [1028, Number],
  timestamptzArray: [1185, (value) => new Date(value)],
  numericArray: [1231, text],
  uuidArray: [2951, text],
  jsonArray: [199, json],
  jsonbArray: [3807, json],
  xid8Array: [271, text],
};

export const arrayTypes: Readonly<Record<string, ArrayType>> = Object.fromEntries(
  Object.entries(KNOWN).map(([name, [oid, element]]) => [
    name,
    {
      to: oid,
      from: [oid],
      serialize: (value) => (Array.isArray(value) ? toArrayText(value) : toElement(value)),
      parse: (value) => parseArray(value, element),
    },
  ]),
);

/** The text form of an array (PostgreSQL manual, 8.15.6). */
function toArrayText(values: readonly unknown[]): string {
  const parts = values.map((value) => {
    if (value === null || value === undefined) return "NULL";
    if (Array.isArray(value)) return toArrayText(value);
    return `"${toElement(value).replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
  });
  return `{${parts.join(",")}}`;
}

function toElement(value: unknown): string {
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString("hex")}`;
  if (value instanceof Date) return value.toISOString();
  if (typeof value === "string") return value;
  return typeof value === "number" || typeof value === "bigint" || typeof value === "boolean" ? String(value) : JSON.stringify(value);
}

/** Arrays of arrays become arrays of arrays; `NULL` becomes null. Bounds before the braces are not read: nothing of ours has any. */
export function parseArray(input: string, element: (text: string) => unknown): unknown[] {
  let at = 0;
  const list = (): unknown[] => {
    const values: unknown[] = [];
    at += 1;
    while (at < input.length) {
      const char = input[at];
      if (char === "}") {
        at += 1;
        break;
      }
      if (char === ",") at += 1;
      else if (char === "{") values.push(list());
      else if (char === '"') values.push(element(quoted()));
      else values.push(bare());
    }
    return values;
  };
  const quoted = (): string => {
    let value = "";
    for (at += 1; input[at] !== '"' && at < input.length; at++) {
      if (input[at] === "\\") at += 1;
      value += input[at] ?? "";
    }
    at += 1;
    return value;
  };
  const bare = (): unknown => {
    const from = at;
    while (at < input.length && input[at] !== "," && input[at] !== "}") at += 1;
    const value = input.slice(from, at);
    return value === "NULL" ? null : element(value);
  };
  return list();
}
