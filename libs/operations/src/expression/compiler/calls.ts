/**
 * Calls of built-in functions. Arguments that match the signature go straight to the implementation; all others, and calls that take the
 * context as an argument, go through the package's own validation first.
 */
import { type Builtin, builtins, isBuiltinName } from "../builtins.ts";
import { JsonataFailure } from "../failure.ts";
import type { Node } from "../syntax.ts";
import { compileHigherOrder, isHigherOrder } from "./higher-order.ts";
import { truthy } from "./operators.ts";
import { compileRegexCall, isRegexCall } from "./regex-calls.ts";
import { type Bindings, type CallOptions, type Compile, type Evaluate, NotCompiled, type Run } from "./run.ts";
import { readSignature, type Signature } from "./signature.ts";
import { synchronousBuiltins } from "./synchronous-builtins.ts";
import { createSequence, isValues, sequenceOf } from "./values.ts";

/** The result is not collapsed: a tail call's is not. */
export function compileCall(node: Node, bindings: Bindings | undefined, compile: Compile, options: CallOptions): Evaluate {
  const name = calledName(node, bindings);
  if (isHigherOrder(name)) return compileHigherOrder(name, node, bindings, compile, options);
  const withRegex = isRegexCall(name) ? compileRegexCall(name, node, options.first, bindings, compile, options.hasContext) : undefined;
  if (withRegex !== undefined) return withRegex;
  const values = (node.arguments ?? []).map((argument) => compile(argument, bindings));
  return compileBuiltin(name, options.first === undefined ? values : [options.first, ...values], node, options.hasContext);
}

export function calledName(node: Node, bindings: Bindings | undefined): string {
  const { procedure } = node;
  if (procedure?.type !== "variable" || typeof procedure.value !== "string" || procedure.predicate !== undefined || procedure.group !== undefined) {
    throw new NotCompiled(node, "calls a computed function");
  }
  for (let scope = bindings; scope !== undefined; scope = scope.outer) {
    if (scope.names.includes(procedure.value)) throw new NotCompiled(node, "calls a variable");
  }
  return procedure.value;
}

export function compileBuiltin(name: string, values: readonly Evaluate[], node: Node, hasContext: boolean): Evaluate {
  if (!isBuiltinName(name) || name === "match") throw new NotCompiled(node, `$${name} is not compiled`);
  const inlined = values.length === 1 && values[0] !== undefined ? inline(name, values[0]) : undefined;
  if (inlined !== undefined) return inlined;
  const builtin = builtins()[name];
  const own = synchronousBuiltins[name];
  const call = (run: Run, args: readonly unknown[]): unknown =>
    own === undefined ? builtin.implementation.apply(focus, [...args]) : own(run, ...args);
  const slow = (run: Run, args: readonly unknown[], input: unknown): unknown => {
    try {
      return call(run, builtin.signature === undefined ? args : builtin.signature.validate(args, hasContext ? input : null));
    } catch (error) {
      throw positioned(error, node);
    }
  };
  const signature = signatureOf(builtin);
  if (signature === undefined || values.length < signature.required || values.length > signature.accepts.length) {
    return (input, run) =>
      slow(
        run,
        values.map((value) => value(input, run)),
        input,
      );
  }
  const [accepts] = signature.accepts;
  const [only] = values;
  if (values.length === 1 && only !== undefined && accepts !== undefined && own === undefined) {
    const { implementation } = builtin;
    return (input, run) => {
      const value = only(input, run);
      if (!accepts(value)) return slow(run, [value], input);
      try {
        return implementation.call(focus, value);
      } catch (error) {
        throw positioned(error, node);
      }
    };
  }
  return (input, run) => {
    const args = values.map((value) => value(input, run));
    for (let i = 0; i < args.length; i++) if (signature.accepts[i]?.(args[i]) !== true) return slow(run, args, input);
    try {
      return call(run, args);
    } catch (error) {
      throw positioned(error, node);
    }
  };
}

/** The calls of almost every expression, without any detour. */
function inline(name: string, value: Evaluate): Evaluate | undefined {
  switch (name) {
    case "exists":
      return (input, run) => value(input, run) !== undefined;
    case "not":
      return (input, run) => {
        const found = value(input, run);
        return found === undefined ? undefined : !truthy(found, run);
      };
    case "boolean":
      return (input, run) => {
        let found = value(input, run);
        while (isValues(found) && found.length === 1) found = found[0];
        return found === undefined ? undefined : truthy(found, run);
      };
    default:
      return undefined;
  }
}

function signatureOf(builtin: Builtin): Signature | undefined {
  const { signature } = builtin;
  return signature !== undefined && "definition" in signature && typeof signature.definition === "string"
    ? readSignature(signature.definition)
    : undefined;
}

/** What the package hands to built-ins as `this`. */
const focus = {
  createSequence: (...values: readonly unknown[]): unknown[] => (values.length === 1 ? sequenceOf(values[0]) : createSequence()),
};

export function positioned(error: unknown, node: Node): unknown {
  if (error instanceof JsonataFailure) error.position ??= node.position;
  else if (typeof error === "object" && error !== null && !("position" in error)) Object.assign(error, { position: node.position });
  return error;
}
