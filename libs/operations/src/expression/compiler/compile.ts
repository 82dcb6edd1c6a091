/**
 * Compiles the common part of the language to synchronous closures over parsed records.
 * Invariant: the same answer as the package, or the same code of failure; a difference is a bug (a property test looks for them).
 * Where the package fails for several members of one constructor, which failure is named first is not part of that: it evaluates them at once.
 * Non-duty: regexes, functions as values, recursion, parents, variables bound along paths, transforms. They raise `NotCompiled`.
 */

import { isFunctionName } from "../builtins.ts";
import { JsonataFailure } from "../failure.ts";
import { isPairs, type Node } from "../syntax.ts";
import { calledName, compileBuiltin, compileCall } from "./calls.ts";
import { compileGroup } from "./group.ts";
import { compileBinary, isNumeric, truthy } from "./operators.ts";
import { compileName, compilePath, filtersOf } from "./path.ts";
import { type Bindings, type CallOptions, type Compile, type Evaluate, NotCompiled, type Run, unbound } from "./run.ts";
import { append, collapse, createSequence, isMembers, isValues, type Values } from "./values.ts";

/** @throws NotCompiled when the package has to run it. */
export const compileNode: Compile = (node, bindings) => {
  const evaluate = compileBare(node, bindings);
  const keepArray = node.keepArray === true;
  const group =
    node.group === undefined || node.type === "path" ? undefined : compileGroup(node.group.lhs, node.group.position, bindings, compileNode);
  const filters = filtersOf(node.predicate, bindings, compileNode);
  if (node.type === "path" || (node.type === "lambda" && node.thunk === true)) return evaluate;
  const isPlain = filters.length === 0 && group === undefined && !keepArray;
  if (endsInTailCall(node)) {
    if (isPlain) return evaluate; // its branches collapse by themselves, but for the tail call
    throw new NotCompiled(node, "filters a tail call");
  }
  if (isPlain && !makesSequences.has(node.type) && node.value !== "..") return evaluate;
  if (isPlain) return (input, run) => collapse(evaluate(input, run), false);
  return (input, run) => {
    let result = evaluate(input, run);
    for (const filter of filters) result = filter(result, run);
    return collapse(group === undefined ? result : group(result, run), keepArray);
  };
};

/** Nodes whose result may be a sequence. Also those that only pass one on: a sequence of one empty sequence collapses twice. */
const makesSequences: ReadonlySet<string> = new Set(["variable", "function", "apply", "wildcard", "block", "condition"]);

function endsInTailCall(node: Node | undefined): boolean {
  if (node === undefined) return false;
  if (node.type === "block") return endsInTailCall(node.expressions?.at(-1));
  if (node.type === "condition") return endsInTailCall(node.then) || endsInTailCall(node.else);
  return node.type === "lambda" && node.thunk === true;
}

function compileBare(node: Node, bindings: Bindings | undefined): Evaluate {
  switch (node.type) {
    case "path":
      return compilePath(node, bindings, compileNode);
    case "name":
      return compileName(node);
    case "string":
    case "number":
    case "value": {
      const { value } = node;
      return () => value;
    }
    case "variable":
      return compileVariable(node, bindings);
    case "binary": {
      if (node.lhs === undefined || isPairs(node.lhs)) throw new NotCompiled(node, "has no left side");
      const compiled = compileBinary(node, compileNode(node.lhs, bindings), compileNode(needed(node, node.rhs), bindings));
      if (compiled === undefined) throw new NotCompiled(node, `unknown operator ${String(node.value)}`);
      return compiled;
    }
    case "unary":
      return compileUnary(node, bindings);
    case "condition":
      return compileCondition(node, bindings);
    case "block":
      return compileBlock(node, bindings);
    case "function":
      return compileCall(node, bindings, compileNode, { hasContext: true, isTail: false });
    case "lambda":
      return compileTailCall(node, bindings);
    case "apply":
      return compileApply(node, bindings);
    case "wildcard":
      return wildcard;
    default:
      throw new NotCompiled(node, "is not compiled");
  }
}

function needed(node: Node, part: Node | undefined): Node {
  if (part === undefined) throw new NotCompiled(node, "misses a part");
  return part;
}

function compileVariable(node: Node, bindings: Bindings | undefined): Evaluate {
  const name = String(node.value);
  if (name === "") return (input) => (isValues(input) && input.outerWrapper === true ? input[0] : input);
  if (name === "$") return (_input, run) => run.root;
  const places: { readonly hops: number; readonly index: number }[] = [];
  for (let scope = bindings, hops = 0; scope !== undefined; scope = scope.outer, hops++) {
    const index = scope.names.indexOf(name);
    if (index >= 0) places.push({ hops, index });
  }
  if (places.length === 0 && isFunctionName(name)) throw new NotCompiled(node, "is a function as a value");
  return (_input, run) => {
    for (const { hops, index } of places) {
      let scope = run.scope;
      for (let i = 0; i < hops; i++) scope = scope?.outer;
      const value = scope?.values[index];
      if (value !== unbound) return value;
    }
    return undefined;
  };
}

function compileUnary(node: Node, bindings: Bindings | undefined): Evaluate {
  switch (node.value) {
    case "-": {
      const operand = compileNode(needed(node, node.expression), bindings);
      const { position } = node;
      return (input, run) => {
        const value = operand(input, run);
        if (value === undefined) return undefined;
        if (!isNumeric(value)) throw new JsonataFailure("D1002", { position, value });
        return -value;
      };
    }
    case "[":
      return compileArray(node, bindings);
    case "{":
      return compileGroup(isPairs(node.lhs) ? node.lhs : [], node.position, bindings, compileNode);
    default:
      throw new NotCompiled(node, "unknown operator");
  }
}

function compileArray(node: Node, bindings: Bindings | undefined): Evaluate {
  const items = (node.expressions ?? []).map((item) => ({ evaluate: compileNode(item, bindings), isArray: item.value === "[" }));
  const isConstructed = node.consarray === true;
  return (input, run) => {
    let values: Values = [];
    for (const { evaluate, isArray } of items) {
      const value = evaluate(input, run);
      if (value === undefined) continue;
      if (isArray || !isValues(value)) {
        values.push(value);
      } else {
        run.spend(value.length);
        const joined = append(values, value);
        values = isValues(joined) ? joined : values;
      }
    }
    if (isConstructed) values.cons = true;
    return values;
  };
}

function compileCondition(node: Node, bindings: Bindings | undefined): Evaluate {
  const condition = compileNode(needed(node, node.condition), bindings);
  const hasTailCall = endsInTailCall(node);
  const then = compileBranch(needed(node, node.then), hasTailCall, bindings);
  const otherwise = node.else === undefined ? undefined : compileBranch(node.else, hasTailCall, bindings);
  return (input, run) => (truthy(condition(input, run), run) ? then(input, run) : otherwise?.(input, run));
}

/** Where one branch is a tail call, the other collapses here instead of with the whole node. */
function compileBranch(node: Node, hasTailCall: boolean, bindings: Bindings | undefined): Evaluate {
  const evaluate = compileNode(node, bindings);
  return hasTailCall && !endsInTailCall(node) ? (input, run) => collapse(evaluate(input, run), false) : evaluate;
}

/** A block makes a scope where it binds variables; elsewhere it is only parentheses. */
function compileBlock(node: Node, bindings: Bindings | undefined): Evaluate {
  const parts = node.expressions ?? [];
  const names = [...new Set(parts.flatMap(boundNames))];
  if (names.some(isFunctionName)) throw new NotCompiled(node, "binds the name of a built-in");
  const inner: Bindings | undefined = names.length === 0 ? bindings : { names, outer: bindings };
  const compiled = parts.map((part) => (part.type === "bind" ? compileBind(part, inner) : compileNode(part, inner)));
  const [only] = compiled;
  if (names.length === 0 && compiled.length === 1 && only !== undefined) return only;
  const runAll = (input: unknown, run: Run): unknown => {
    let result: unknown;
    for (const evaluate of compiled) result = evaluate(input, run);
    return result;
  };
  if (names.length === 0) return runAll;
  return (input, run) => {
    const outer = run.scope;
    run.scope = { values: names.map(() => unbound), outer };
    const result = runAll(input, run);
    run.scope = outer;
    return result;
  };
}

/** `$a := $b := 1` binds both. */
function boundNames(node: Node): string[] {
  if (node.type !== "bind" || node.lhs === undefined || isPairs(node.lhs)) return [];
  return [String(node.lhs.value), ...(node.rhs === undefined ? [] : boundNames(node.rhs))];
}

/** Only directly in a block: elsewhere the package binds while other parts are under way. */
function compileBind(node: Node, bindings: Bindings | undefined): Evaluate {
  const right = needed(node, node.rhs);
  if (node.predicate !== undefined || node.group !== undefined || node.keepArray === true) throw new NotCompiled(node, "filters a binding");
  const value = right.type === "bind" ? compileBind(right, bindings) : compileNode(right, bindings);
  const index = bindings?.names.indexOf(boundNames(node)[0] ?? "") ?? -1;
  return (input, run) => {
    const bound = value(input, run);
    if (run.scope !== undefined) run.scope.values[index] = bound;
    return collapse(bound, false);
  };
}

/** The parser wraps the last call of a lambda's body: the package runs it after the lambda, without collapsing its result. */
function compileTailCall(node: Node, bindings: Bindings | undefined): Evaluate {
  const { body } = node;
  if (node.thunk !== true || body === undefined || body.group !== undefined) throw new NotCompiled(node, "is a function as a value");
  let scope = bindings;
  while (scope !== undefined && scope.tailContext === undefined) scope = scope.outer;
  return compileCall(body, bindings, compileNode, { hasContext: scope?.tailContext === true, isTail: true });
}

function compileApply(node: Node, bindings: Bindings | undefined): Evaluate {
  if (node.lhs === undefined || isPairs(node.lhs)) throw new NotCompiled(node, "has no left side");
  const right = needed(node, node.rhs);
  if (right.predicate !== undefined || right.group !== undefined || right.keepArray === true) throw new NotCompiled(right, "filters a function");
  const first = compileNode(node.lhs, bindings);
  const options: CallOptions = { first, hasContext: true, isTail: false };
  if (right.type === "function") return compileCall(right, bindings, compileNode, options);
  if (right.type === "variable") return compileBuiltin(calledName({ ...right, procedure: right }, bindings), [first], right, false);
  throw new NotCompiled(right, "applies a computed function");
}

const wildcard: Evaluate = (input, run) => {
  const object = isValues(input) && input.outerWrapper === true && input.length > 0 ? input[0] : input;
  let results = createSequence();
  if (!isMembers(object) && !isValues(object)) return results;
  // An array's items only: the package also takes the flags of its own arrays for members.
  for (const value of isValues(object) ? [...object] : Object.values(object)) {
    run.spend(1);
    if (!isValues(value)) {
      results.push(value);
    } else {
      if (results.sequence === true) results = [...results]; // joined arrays are no sequence
      flattenInto(value, results, run);
    }
  }
  return results;
};

function flattenInto(value: unknown, results: Values, run: Run): void {
  run.spend(1);
  if (isValues(value)) for (const item of value) flattenInto(item, results, run);
  else results.push(value);
}
