/** Object constructors and group-by, which are one thing: the values of each key are gathered first, then computed over. */
import { JsonataFailure } from "../failure.ts";
import type { Node } from "../syntax.ts";
import type { Bindings, Compile, Evaluate, Run } from "./run.ts";
import { isValues, type Members, type Values } from "./values.ts";

export type GroupBy = (input: unknown, run: Run) => Members;
type Pair = { readonly key: Evaluate; readonly value: Evaluate };

export function compileGroup(
  pairs: readonly (readonly [Node, Node])[],
  position: number | undefined,
  bindings: Bindings | undefined,
  compile: Compile,
): GroupBy {
  const compiled = pairs.map(([key, value]) => ({ key: compile(key, bindings), value: compile(value, bindings) }));
  const general: GroupBy = (input, run) => groupBy(compiled, position, input, run);
  const names = literalKeys(pairs);
  if (names === undefined) return general;
  const fixed = compiled.map(({ value }, index) => ({ name: names[index] ?? "", value }));
  return (input, run) => {
    if (isValues(input)) return general(input, run);
    const result: Members = Object.create(null);
    for (const { name, value } of fixed) {
      const found = value(input, run);
      if (found !== undefined) result[name] = found;
    }
    return result;
  };
}

/** Keys that are known, different and not integer-like (those would come first): the object needs no grouping. */
export function literalKeys(pairs: readonly (readonly [Node, Node])[]): readonly string[] | undefined {
  const names = new Set<string>();
  for (const [key] of pairs) {
    if (key.type !== "string" || typeof key.value !== "string" || key.predicate !== undefined || key.group !== undefined) return undefined;
    if (/^\d+$/.test(key.value) || key.value.startsWith("_jsonata_")) return undefined;
    names.add(key.value);
  }
  return names.size === pairs.length ? [...names] : undefined;
}

/** `own`: the array that this grouping made, and may therefore push to. */
type Entry = { data: unknown; own?: Values; readonly pairIndex: number };

function groupBy(pairs: readonly Pair[], position: number | undefined, input: unknown, run: Run): Members {
  const groups: Record<string, Entry> = Object.create(null); // integer-like keys come first, as in the package
  // Nothing at all still makes an object: its constructor runs once over absent.
  const items = isValues(input) ? (input.length === 0 ? [undefined] : input) : [input];
  for (const item of items) {
    for (const [pairIndex, pair] of pairs.entries()) {
      run.tick();
      addTo(groups, pair.key(item, run), item, pairIndex, position);
    }
  }
  const result: Members = Object.create(null);
  for (const [key, { data, pairIndex }] of Object.entries(groups)) {
    run.tick();
    const value = pairs[pairIndex]?.value(data, run);
    if (value !== undefined) result[key] = value;
  }
  return result;
}

function addTo(groups: Record<string, Entry>, key: unknown, item: unknown, pairIndex: number, position: number | undefined): void {
  if (key === undefined) return;
  if (typeof key !== "string") throw new JsonataFailure("T1003", { position, value: key });
  if (key === "_jsonata_lambda" || key === "_jsonata_function") throw new JsonataFailure("D1013", { position, value: key });
  const entry = groups[key];
  if (entry === undefined) {
    groups[key] = { data: item, pairIndex };
  } else {
    if (entry.pairIndex !== pairIndex) throw new JsonataFailure("D1009", { position, value: key });
    gather(entry, item);
  }
}

/** `append`, without a copy for every item. */
function gather(entry: Entry, item: unknown): void {
  if (item === undefined) return;
  if (entry.data === undefined) {
    entry.data = item;
    return;
  }
  entry.own ??= [...(isValues(entry.data) ? entry.data : [entry.data])];
  entry.data = entry.own;
  if (isValues(item)) for (const inner of item) entry.own.push(inner);
  else entry.own.push(item);
}
