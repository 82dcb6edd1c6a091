/**
 * What a customer's schema may cost. Size and depth are plain; references need more: `a: allOf [b, b]`, `b: allOf [c, c]`, … doubles with each line,
 * and one value may reach the same recursive schema over two paths, which doubles with each level of the value.
 */
import { isJsonObject, type Json, type JsonObject, toPointer, type Violation } from "@onedata/core";
import { resolveReference } from "./references.ts";

const MAX_NODES = 5_000;
const MAX_DEPTH = 32;
/** Nodes after every reference is written out. */
const MAX_EXPANDED_NODES = 100_000;
/** A recursive definition may be reached by so many in-place branches (allOf, anyOf, …) that lead back to itself. */
const MAX_RECURSIVE_BRANCHES = 1;

/** Either what is too much, or the schema's size with every reference written out once. */
export type Bounds = { readonly problem: Violation } | { readonly expandedNodes: number };

export function measureBounds(schema: Json): Bounds {
  const found = findProblem(schema);
  return typeof found === "number" ? { expandedNodes: found } : { problem: found };
}

function findProblem(schema: Json): Violation | number {
  const problem = (pointer: string, detail: string): Violation => ({ pointer, code: "bounds", detail });
  let nodes = 0;
  let tooDeep: string | undefined;
  let named: string | undefined;
  const count = (value: Json, path: (string | number)[]): void => {
    nodes += 1;
    if (path.length > MAX_DEPTH) tooDeep ??= toPointer(path);
    if (nodes > MAX_NODES || tooDeep !== undefined || typeof value !== "object" || value === null) return;
    if (Array.isArray(value)) value.forEach((item, i) => count(item, [...path, i]));
    else if (isJsonObject(value)) {
      if (typeof value["$id"] === "string" && path.length > 0) named ??= toPointer([...path, "$id"]);
      for (const [name, item] of Object.entries(value)) count(item, [...path, name]);
    }
  };
  count(schema, []);
  if (tooDeep !== undefined) return problem(tooDeep, `the schema is nested deeper than ${MAX_DEPTH} levels: move parts into $defs`);
  if (nodes > MAX_NODES) return problem("", `the schema has more than ${MAX_NODES} parts: split the pipeline, or check less`);
  if (named !== undefined) return problem(named, "an inner $id is not supported: put the part into $defs and refer to it as #/$defs/…");
  return isJsonObject(schema) ? measureReferences(schema, problem) : 1;
}

function measureReferences(root: JsonObject, problem: (pointer: string, detail: string) => Violation): Violation | number {
  const expanded = new Map<Json, number>();
  const open = new Set<Json>();
  const recursive = new Set<string>();
  const size = (value: Json): number => {
    if (typeof value !== "object" || value === null) return 1;
    const known = expanded.get(value);
    if (known !== undefined) return known;
    if (open.has(value)) return 1;
    open.add(value);
    let total = 1;
    for (const item of Object.values(value)) total += size(item);
    const reference = isJsonObject(value) ? value["$ref"] : undefined;
    if (typeof reference === "string") {
      const target = resolveReference(root, reference);
      if (target !== undefined && open.has(target)) recursive.add(reference);
      if (target !== undefined) total += size(target);
    }
    open.delete(value);
    expanded.set(value, total);
    return total;
  };
  const expandedNodes = size(root);
  if (expandedNodes > MAX_EXPANDED_NODES)
    return problem("", "the schema's references multiply: name a definition once in each place, not in several branches of allOf, anyOf or oneOf");
  for (const reference of recursive) {
    const target = resolveReference(root, reference);
    if (target !== undefined && inPlaceReturns(root, target, reference) > MAX_RECURSIVE_BRANCHES) {
      return problem(
        "",
        `the recursive definition ${reference} leads back to itself over several branches of allOf, anyOf or oneOf: the cost would double with each level; put the recursive part in one branch`,
      );
    }
  }
  return expandedNodes;
}

/** The most branches of one combination that lead back to the reference. */
function inPlaceReturns(root: JsonObject, target: Json, reference: string): number {
  const visited = new Set<Json>();
  const leadsBack = (value: Json, seen: Set<Json>): boolean => {
    if (typeof value !== "object" || value === null || seen.has(value)) return false;
    seen.add(value);
    if (isJsonObject(value) && typeof value["$ref"] === "string") {
      if (value["$ref"] === reference) return true;
      const next = resolveReference(root, value["$ref"]);
      if (next !== undefined && leadsBack(next, seen)) return true;
    }
    return Object.values(value).some((item) => leadsBack(item, seen));
  };
  let most = 0;
  const walk = (value: Json): void => {
    if (typeof value !== "object" || value === null || visited.has(value)) return;
    visited.add(value);
    if (isJsonObject(value)) {
      const branches = ["allOf", "anyOf", "oneOf"].flatMap((name) => (Array.isArray(value[name]) ? value[name] : []));
      for (const name of ["if", "then", "else", "not"]) if (value[name] !== undefined) branches.push(value[name]);
      most = Math.max(most, branches.filter((branch) => leadsBack(branch, new Set())).length);
      const next = typeof value["$ref"] === "string" ? resolveReference(root, value["$ref"]) : undefined;
      if (next !== undefined) walk(next);
    }
    for (const item of Object.values(value)) walk(item);
  };
  walk(target);
  return most;
}

/** Counts a value's parts, up to a limit. */
export function countNodes(value: Json, limit: number): number {
  let nodes = 0;
  const visit = (each: Json): void => {
    nodes += 1;
    if (nodes > limit || typeof each !== "object" || each === null) return;
    for (const item of Object.values(each)) visit(item);
  };
  visit(value);
  return nodes;
}
