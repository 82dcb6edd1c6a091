/**
 * Which top-level members of a record an expression reads.
 * Invariant: never too few. Names that are looked up in the record itself are listed; wherever the record could be handed on as a whole
 * (`$`, `*`, a built-in that takes its context), `readsWholeRecord` is true.
 */
import { isPairs, type Node, type Stage } from "./syntax.ts";

export type ReadPaths = { readonly paths: readonly string[]; readonly readsWholeRecord: boolean };

export function readPaths(root: Node): ReadPaths {
  const found: Found = { paths: new Set(), whole: false };
  walk(root, true, found);
  return { paths: [...found.paths].sort(), readsWholeRecord: found.whole };
}

type Found = { readonly paths: Set<string>; whole: boolean };

function walk(node: Node | undefined, contextIsRecord: boolean, found: Found): void {
  if (node === undefined) return;
  walkStages(node.predicate, found);
  walkStages(node.stages, found);
  for (const [key, value] of node.group?.lhs ?? []) {
    walk(key, false, found);
    walk(value, false, found);
  }
  switch (node.type) {
    case "path":
      return walkPath(node, contextIsRecord, found);
    case "name":
      if (contextIsRecord && typeof node.value === "string") found.paths.add(node.value);
      return;
    case "variable":
      if (node.value === "$" || (node.value === "" && contextIsRecord)) found.whole = true;
      return;
    case "wildcard":
    case "descendant":
      if (contextIsRecord) found.whole = true;
      return;
    case "function":
      if (contextIsRecord && takesContext(node)) found.whole = true;
      walk(node.procedure, contextIsRecord, found);
      return walkAll(node.arguments, contextIsRecord, found);
    case "binary":
    case "apply":
    case "bind":
      walk(isPairs(node.lhs) ? undefined : node.lhs, contextIsRecord, found);
      return walk(node.rhs, contextIsRecord, found);
    case "unary":
      for (const pair of isPairs(node.lhs) ? node.lhs : []) walkAll(pair, contextIsRecord, found);
      walk(node.expression, contextIsRecord, found);
      return walkAll(node.expressions, contextIsRecord, found);
    case "condition":
      return walkAll([node.condition, node.then, node.else], contextIsRecord, found);
    case "block":
      return walkAll(node.expressions, contextIsRecord, found);
    case "lambda":
      return walk(node.body, contextIsRecord, found);
    case "sort":
      for (const term of node.terms ?? []) walk(term.expression, false, found);
      return;
    case "string":
    case "number":
    case "value":
    case "regex":
      return;
    default:
      found.whole = true; // parents, transforms, partial application
  }
}

function walkAll(nodes: readonly (Node | undefined)[] | undefined, contextIsRecord: boolean, found: Found): void {
  for (const node of nodes ?? []) walk(node, contextIsRecord, found);
}

function walkStages(stages: readonly Stage[] | undefined, found: Found): void {
  for (const stage of stages ?? []) if (stage.type === "filter") walk(stage.expr, false, found);
}

function walkPath(node: Node, contextIsRecord: boolean, found: Found): void {
  const [first, second, ...rest] = node.steps ?? [];
  // `$$.a` and `$.a` read one member, not the record.
  const isRecord =
    first?.type === "variable" &&
    first.predicate === undefined &&
    first.stages === undefined &&
    first.group === undefined &&
    (first.value === "$" || (first.value === "" && contextIsRecord));
  if (isRecord && second?.type === "name") {
    walk(second, true, found);
  } else {
    walk(first, contextIsRecord, found);
    walk(second, false, found);
  }
  walkAll(rest, false, found);
}

/** How many arguments a built-in needs so that it does not take the context instead. */
const argumentsNeeded: Record<string, number> = {
  now: 0,
  millis: 0,
  substring: 2,
  substringBefore: 2,
  substringAfter: 2,
  pad: 2,
  match: 2,
  contains: 2,
  replace: 3,
  split: 2,
  formatNumber: 2,
  formatInteger: 2,
  parseInteger: 2,
  power: 2,
  sift: 2,
  lookup: 2,
  each: 2,
};

function takesContext(node: Node): boolean {
  const name = node.procedure?.type === "variable" ? node.procedure.value : undefined;
  const needed = typeof name === "string" && Object.hasOwn(argumentsNeeded, name) ? argumentsNeeded[name] : 1;
  return (node.arguments?.length ?? 0) < (needed ?? 1);
}
