/** Order-by: a stable merge sort whose comparisons come in the package's order, so that mixed types fail alike. */
import { JsonataFailure } from "../failure.ts";
import type { Node } from "../syntax.ts";
import { type Bindings, type Compile, type Evaluate, NotCompiled, type Run } from "./run.ts";
import { isValues, sequenceOf, type Values } from "./values.ts";

type Term = { readonly evaluate: Evaluate; readonly descending: boolean };

export function compileSort(
  node: Node,
  filters: readonly ((input: unknown, run: Run) => unknown)[],
  bindings: Bindings | undefined,
  compile: Compile,
): (inputs: Values, run: Run) => Values {
  if (node.terms === undefined) throw new NotCompiled(node, "has no terms");
  const terms: Term[] = node.terms.map((term) => ({ evaluate: compile(term.expression, bindings), descending: term.descending === true }));
  const comesAfter = (a: unknown, b: unknown, run: Run): boolean => {
    run.tick();
    for (const term of terms) {
      const order = compare(term.evaluate(a, run), term.evaluate(b, run), node.position);
      // Absent comes last, descending or not.
      if (order !== 0) return (term.descending && Math.abs(order) === 1 ? -order : order) > 0;
    }
    return false;
  };
  return (inputs, run) => {
    let result: unknown = mergeSort(inputs, (a, b) => comesAfter(a, b, run), run);
    for (const filter of filters) result = filter(result, run);
    return isValues(result) ? result : sequenceOf(result);
  };
}

/** -1, 0, 1; or ±2 where one side is absent, which no direction turns around. */
function compare(a: unknown, b: unknown, position: number | undefined): number {
  if (a === undefined) return b === undefined ? 0 : 2;
  if (b === undefined) return -2;
  if (typeof a === "number" && typeof b === "number") return a === b ? 0 : a < b ? -1 : 1;
  if (typeof a === "string" && typeof b === "string") return a === b ? 0 : a < b ? -1 : 1;
  const isTerm = (value: unknown): boolean => typeof value === "string" || typeof value === "number";
  if (!isTerm(a) || !isTerm(b)) throw new JsonataFailure("T2008", { position, value: isTerm(a) ? b : a });
  throw new JsonataFailure("T2007", { position, value: a });
}

/** An array of at most one value is answered as it is, flags and all. */
export function mergeSort(values: Values, comesAfter: (a: unknown, b: unknown) => boolean, run: Run): Values {
  if (values.length <= 1) return values;
  const middle = Math.floor(values.length / 2);
  const left = mergeSort(values.slice(0, middle), comesAfter, run);
  const right = mergeSort(values.slice(middle), comesAfter, run);
  run.spend(values.length);
  const merged: unknown[] = [];
  let l = 0;
  let r = 0;
  while (l < left.length && r < right.length) merged.push(comesAfter(left[l], right[r]) ? right[r++] : left[l++]);
  while (l < left.length) merged.push(left[l++]);
  while (r < right.length) merged.push(right[r++]);
  return merged;
}

/**
 * `$sort` for the package, which copies an array for every item it merges. `refuse` is the package's own sort, asked for its error
 * when the values cannot be compared without a function.
 */
export async function mergeSortAsync(values: unknown, comparator: unknown, run: Run, refuse: (values: unknown) => unknown): Promise<unknown> {
  if (!isValues(values) || values.length <= 1) return values;
  if (typeof comparator !== "function") {
    const isText = values.every((value) => typeof value === "string");
    return isText || values.every((value) => Number.isFinite(value)) ? mergeSort(values, (a, b) => isGreater(a, b), run) : refuse(values);
  }
  const middle = Math.floor(values.length / 2);
  const left = await mergeSortAsync(values.slice(0, middle), comparator, run, refuse);
  const right = await mergeSortAsync(values.slice(middle), comparator, run, refuse);
  if (!isValues(left) || !isValues(right)) return values;
  const merged: unknown[] = [];
  let l = 0;
  let r = 0;
  while (l < left.length && r < right.length) {
    run.tick();
    merged.push((await comparator(left[l], right[r])) ? right[r++] : left[l++]);
  }
  while (l < left.length) merged.push(left[l++]);
  while (r < right.length) merged.push(right[r++]);
  return merged;
}

/** Of two numbers or two texts. */
export const isGreater = (a: unknown, b: unknown): boolean => (typeof a === "number" && typeof b === "number" ? a > b : String(a) > String(b));
