/** Arithmetic, comparison, boolean and string operators, with the package's checks in its order. */
import { builtins } from "../builtins.ts";
import { JsonataFailure } from "../failure.ts";
import type { Node } from "../syntax.ts";
import type { Evaluate, Run } from "./run.ts";
import { createSequence, isMembers, isValues, type Values } from "./values.ts";

/** @throws JsonataFailure `D1001` for Infinity: a result of this very expression, since JSON has none. */
export function isNumeric(value: unknown): value is number {
  if (typeof value !== "number" || Number.isNaN(value)) return false;
  if (!Number.isFinite(value)) throw new JsonataFailure("D1001", { value });
  return true;
}

/** The boolean that a value counts as; absent counts as false. */
export function truthy(value: unknown, run: Run): boolean {
  switch (typeof value) {
    case "boolean":
      return value;
    case "string":
      return value.length > 0;
    case "number":
      return isNumeric(value) && value !== 0;
    case "object":
      if (value === null) return false;
      if (isValues(value)) {
        run.spend(1 + value.length);
        return value.length === 1 ? truthy(value[0], run) : value.filter((item) => truthy(item, run)).length > 0;
      }
      return Object.keys(value).length > 0;
    case "undefined":
    case "function":
    case "symbol":
    case "bigint":
      return false;
  }
}

/** `$string` of anything but absent; numbers to 15 digits. */
export function toText(value: unknown, run: Run): string {
  if (typeof value === "string") return value;
  if (typeof value === "boolean") return value ? "true" : "false";
  if (typeof value === "number" && Number.isFinite(value)) return String(Number.isInteger(value) ? value : Number(value.toPrecision(15)));
  return String(builtins().string.implementation.call(undefined, measured(value, run)));
}

/** Spends a step for every node of the tree that a value stands for: parts may be shared without end, and the package walks them all. */
export function measured(value: unknown, run: Run): unknown {
  if (typeof value === "object" && value !== null) {
    const parts = isValues(value) ? value : Object.values(value);
    run.spend(1 + parts.length);
    for (const part of parts) measured(part, run);
  } else if (typeof value === "string") {
    run.spend(value.length >> 6);
  }
  return value;
}

export function compileBinary(node: Node, left: Evaluate, right: Evaluate): Evaluate | undefined {
  const position = node.position;
  switch (node.value) {
    case "and":
      return (input, run) => truthy(left(input, run), run) && truthy(right(input, run), run);
    case "or":
      return (input, run) => truthy(left(input, run), run) || truthy(right(input, run), run);
    case "=":
      return (input, run) => areEqual(left(input, run), right(input, run), run);
    case "!=":
      return (input, run) => {
        const a = left(input, run);
        const b = right(input, run);
        return a !== undefined && b !== undefined && !areEqual(a, b, run);
      };
    case "&":
      return (input, run) => concatenate(left(input, run), right(input, run), position, run);
    case "in":
      return (input, run) => includes(left(input, run), right(input, run), run);
    case "..":
      return (input, run) => range(rangeBound(left(input, run)), rangeBound(right(input, run)), position, run);
    default:
      return compileArithmetic(node, left, right) ?? compileComparison(node, left, right);
  }
}

const arithmetic: Record<string, (a: number, b: number) => number> = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => a / b,
  "%": (a, b) => a % b,
};

function compileArithmetic(node: Node, left: Evaluate, right: Evaluate): Evaluate | undefined {
  const { position } = node;
  // One closure per operator, so that each call site sees one operation only.
  switch (node.value) {
    case "+":
      return (input, run) => {
        const a = left(input, run);
        const b = right(input, run);
        // A finite sum, difference or product has finite operands.
        if (typeof a === "number" && typeof b === "number" && Number.isFinite(a + b)) return a + b;
        return checkedArithmetic("+", a, b, position);
      };
    case "-":
      return (input, run) => {
        const a = left(input, run);
        const b = right(input, run);
        if (typeof a === "number" && typeof b === "number" && Number.isFinite(a - b)) return a - b;
        return checkedArithmetic("-", a, b, position);
      };
    case "*":
      return (input, run) => {
        const a = left(input, run);
        const b = right(input, run);
        if (typeof a === "number" && typeof b === "number" && Number.isFinite(a * b)) return a * b;
        return checkedArithmetic("*", a, b, position);
      };
    case "/":
    case "%": {
      const operator = node.value;
      return (input, run) => checkedArithmetic(operator, left(input, run), right(input, run), position);
    }
    default:
      return undefined;
  }
}

function checkedArithmetic(operator: string, a: unknown, b: unknown, position: number | undefined): number | undefined {
  if (a !== undefined && !isNumericAt(a, position)) throw new JsonataFailure("T2001", { position, value: a, token: operator });
  if (b !== undefined && !isNumericAt(b, position)) throw new JsonataFailure("T2002", { position, value: b, token: operator });
  if (a === undefined || b === undefined) return undefined;
  return arithmetic[operator]?.(a, b);
}

function isNumericAt(value: unknown, position: number | undefined): value is number {
  if (value === Infinity || value === -Infinity) throw new JsonataFailure("D1001", { position, value });
  return typeof value === "number" && !Number.isNaN(value);
}

function compileComparison(node: Node, left: Evaluate, right: Evaluate): Evaluate | undefined {
  const { position, value: operator } = node;
  const compare = typeof operator === "string" && Object.hasOwn(comparisons, operator) ? comparisons[operator] : undefined;
  if (compare === undefined) return undefined;
  return (input, run) => {
    const a = left(input, run);
    const b = right(input, run);
    if (typeof a === "number" && typeof b === "number") return compare(a, b);
    if (typeof a === "string" && typeof b === "string") return compare(a, b);
    if (!isComparable(a) || !isComparable(b))
      throw new JsonataFailure("T2010", { position, value: typeof a === "string" || typeof a === "number" ? b : a });
    if (a === undefined || b === undefined) return undefined;
    throw new JsonataFailure("T2009", { position, value: a });
  };
}

const isComparable = (value: unknown): boolean => value === undefined || typeof value === "string" || typeof value === "number";

const comparisons: Record<string, (a: number | string, b: number | string) => boolean> = {
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
};

/** Absent equals nothing. Objects equal by members in any order, also an array and an object with the same keys. */
function areEqual(a: unknown, b: unknown, run: Run): boolean {
  if (a === undefined || b === undefined) return false;
  return deepEqual(a, b, run);
}

export function deepEqual(a: unknown, b: unknown, run: Run): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  run.spend(1);
  if (isValues(a) && isValues(b)) {
    if (a.length !== b.length) return false;
    for (let i = 0; i < a.length; i++) if (!deepEqual(a[i], b[i], run)) return false;
    return true;
  }
  // Also for an array and an object: the package compares their own names, and an array's include `length`.
  const names = Object.getOwnPropertyNames(a);
  if (names.length !== Object.getOwnPropertyNames(b).length) return false;
  for (const name of names) if (!Object.hasOwn(b, name)) return false;
  for (const name of names) if (!deepEqual(memberOf(a, name), memberOf(b, name), run)) return false;
  return true;
}

const memberOf = (value: object, name: string): unknown => (isMembers(value) ? value[name] : Object.getOwnPropertyDescriptor(value, name)?.value);

function concatenate(a: unknown, b: unknown, position: number | undefined, run: Run): string {
  let text: string;
  try {
    text = (a === undefined ? "" : toText(a, run)) + (b === undefined ? "" : toText(b, run));
  } catch (error) {
    if (error instanceof JsonataFailure) error.position = position;
    throw error;
  }
  if (text.length > run.maxStringLength) throw new JsonataFailure("D2015", { position, value: text.length, message: "the text is too long" });
  return text;
}

function includes(a: unknown, b: unknown, run: Run): boolean {
  if (a === undefined || b === undefined) return false;
  if (!isValues(b)) return a === b;
  run.spend(b.length);
  for (let i = 0; i < b.length; i++) if (b[i] === a) return true;
  return false;
}

/** Beyond the safe integers `i + 1` may be `i`: the package would count for ever. Both use this check. */
export function rangeBound(value: unknown): unknown {
  if (Number.isInteger(value) && !Number.isSafeInteger(value))
    throw new JsonataFailure("D2014", { value, message: "a range ends at most at 9007199254740991" });
  return value;
}

function range(from: unknown, to: unknown, position: number | undefined, run: Run): Values | undefined {
  if (from !== undefined && !Number.isInteger(from)) throw new JsonataFailure("T2003", { position, value: from });
  if (to !== undefined && !Number.isInteger(to)) throw new JsonataFailure("T2004", { position, value: to });
  if (typeof from !== "number" || typeof to !== "number" || from > to) return undefined;
  const size = to - from + 1;
  if (size > 1e7) throw new JsonataFailure("D2014", { position, value: size });
  if (size > run.maxSequenceLength) throw new JsonataFailure("D2015", { position, value: size });
  run.spend(size);
  const values = createSequence();
  for (let i = from; i <= to; i++) values.push(i);
  return values;
}
