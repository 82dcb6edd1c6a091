/**
 * `$map`, `$filter` and `$reduce` with a function written in place. Functions are no values in compiled code, so none can call itself:
 * recursion, and with it unbounded depth, stays with the package.
 */

import { isFunctionName } from "../builtins.ts";
import type { Node } from "../syntax.ts";
import { truthy } from "./operators.ts";
import { type Bindings, type CallOptions, type Compile, type Evaluate, NotCompiled, type Run } from "./run.ts";
import { createSequence, isValues, type Values } from "./values.ts";

const higherOrder = ["map", "filter", "reduce"] as const;
type HigherOrder = (typeof higherOrder)[number];
export const isHigherOrder = (name: string): name is HigherOrder => higherOrder.some((known) => known === name);

type Call = (input: unknown, run: Run, args: readonly unknown[]) => unknown;

export function compileHigherOrder(name: HigherOrder, node: Node, bindings: Bindings | undefined, compile: Compile, options: CallOptions): Evaluate {
  const args = node.arguments ?? [];
  const at = options.first === undefined ? 1 : 0; // `items ~> $map(...)` has its array outside
  const lambda = args[at];
  const values = options.first ?? (args[0] === undefined ? undefined : compile(args[0], bindings));
  if (values === undefined || lambda === undefined || args.length > at + (name === "reduce" ? 2 : 1))
    throw new NotCompiled(node, "has unusual arguments");
  const { call, arity } = compileLambda(lambda, bindings, compile, options.isTail);
  const initial = args[at + 1];
  switch (name) {
    case "map":
      return (input, run) => map(arrayOf(values(input, run)), (parameters) => call(input, run, parameters), arity, run);
    case "filter":
      return (input, run) => filter(arrayOf(values(input, run)), (parameters) => call(input, run, parameters), arity, run);
    case "reduce": {
      if (arity < 2) throw new NotCompiled(node, "reduces with less than two parameters");
      const start = initial === undefined ? undefined : compile(initial, bindings);
      return (input, run) => {
        const array = arrayOf(values(input, run));
        const first = start?.(input, run);
        return reduce(array, first, (parameters) => call(input, run, parameters), arity, run);
      };
    }
  }
}

/** A single value counts as an array of it. */
function arrayOf(value: unknown): Values | undefined {
  if (value === undefined || isValues(value)) return value;
  return [value];
}

function compileLambda(
  node: Node,
  bindings: Bindings | undefined,
  compile: Compile,
  isTail: boolean,
): { readonly call: Call; readonly arity: number } {
  const { body } = node;
  if (
    node.type !== "lambda" ||
    node.thunk === true ||
    node.signature !== undefined ||
    node.predicate !== undefined ||
    node.group !== undefined ||
    body === undefined
  ) {
    throw new NotCompiled(node, "is not a function written in place");
  }
  const names = (node.arguments ?? []).map((parameter) => String(parameter.value));
  if (names.some(isFunctionName) || new Set(names).size !== names.length) throw new NotCompiled(node, "has a parameter named like a built-in");
  const evaluate = compile(body, { names, outer: bindings, tailContext: isTail });
  const call: Call = (input, run, args) => {
    const outer = run.scope;
    run.scope = { values: names.map((_, index) => args[index]), outer };
    const result = evaluate(input, run);
    run.scope = outer;
    return result;
  };
  return { call, arity: names.length };
}

type Apply = (parameters: readonly unknown[]) => unknown;

function map(values: Values | undefined, apply: Apply, arity: number, run: Run): Values | undefined {
  if (values === undefined) return undefined;
  const results = createSequence();
  for (let i = 0; i < values.length; i++) {
    run.tick();
    const result = apply([values[i], i, values].slice(0, Math.max(1, arity)));
    if (result !== undefined) results.push(result);
  }
  return results;
}

function filter(values: Values | undefined, apply: Apply, arity: number, run: Run): Values | undefined {
  if (values === undefined) return undefined;
  const kept = createSequence();
  for (let i = 0; i < values.length; i++) {
    run.tick();
    if (truthy(apply([values[i], i, values].slice(0, Math.max(1, arity))), run)) kept.push(values[i]);
  }
  return kept;
}

function reduce(values: Values | undefined, initial: unknown, apply: Apply, arity: number, run: Run): unknown {
  if (values === undefined) return undefined;
  const startsInside = initial === undefined && values.length > 0;
  let result = startsInside ? values[0] : initial;
  for (let i = startsInside ? 1 : 0; i < values.length; i++) {
    run.tick();
    result = apply([result, values[i], i, values].slice(0, Math.max(2, arity)));
  }
  return result;
}
