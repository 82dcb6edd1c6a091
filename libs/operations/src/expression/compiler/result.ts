/**
 * From a parsed expression to a function of a record. Decides, once, how much of a result must be copied to become plain JSON:
 * scalars and parts of the record not at all. A member that is only moved (`id`, `{"id": customer.id}`) keeps its exact number.
 */
import { type Json, type JsonObject, setMember } from "@onedata/core";
import { toJson } from "../exact.ts";
import { isPairs, type Node } from "../syntax.ts";
import { compileNode } from "./compile.ts";
import { literalKeys } from "./group.ts";
import { plainNames } from "./path.ts";
import type { Run } from "./run.ts";
import { isValues, sequenceOf } from "./values.ts";

/** `exact`: the record as it came; `plain`: the same with doubles where the expression reads them. */
export type Answer = (exact: Json, plain: Json, run: Run) => Json | undefined;

/** @throws NotCompiled when the package has to run it. */
export function compileAnswer(root: Node): Answer {
  const general = compileValue(root);
  const pairs =
    root.type === "unary" && root.value === "{" && isPairs(root.lhs) && root.predicate === undefined && root.group === undefined
      ? root.lhs
      : undefined;
  const names = pairs === undefined ? undefined : literalKeys(pairs);
  if (names === undefined) return general;
  const members = names.map((name, index) => ({ name, answer: compileValue(pairs?.[index]?.[1]) }));
  return (exact, plain, run) => {
    if (Array.isArray(plain)) return general(exact, plain, run);
    const result: JsonObject = {};
    for (const { name, answer } of members) {
      const value = answer(exact, plain, run);
      if (value === undefined) continue;
      if (name === "__proto__") setMember(result, name, value);
      else result[name] = value;
    }
    return result;
  };
}

function compileValue(node: Node | undefined): Answer {
  if (node === undefined) return () => undefined;
  const evaluate = compileNode(node, undefined);
  const kind = kindOf(node);
  switch (kind) {
    case "moved":
      return (exact, _plain, run) => partOfRecord(evaluate(wrapped(exact), run));
    case "part":
      return (_exact, plain, run) => partOfRecord(evaluate(wrapped(plain), run));
    case "other":
      return (_exact, plain, run) => scalarOrCopy(evaluate(wrapped(plain), run));
  }
}

/** A record that is an array is one value, not many. */
function wrapped(record: Json): unknown {
  if (!Array.isArray(record)) return record;
  const wrapper = sequenceOf(record);
  wrapper.outerWrapper = true;
  return wrapper;
}

/** `moved`: only names. `part`: names and filters, whose result is made of parts of the record. */
function kindOf(node: Node): "moved" | "part" | "other" {
  const steps = node.type === "path" && node.group === undefined ? node.steps : undefined;
  if (steps === undefined) return "other";
  if (plainNames(steps) !== undefined) return "moved";
  return steps.every((step) => step.type === "name" && step.group === undefined && step.keepArray !== true) ? "part" : "other";
}

/** What a path over the record answers: a part of it, or a sequence of parts, which is copied because of its flags. */
function partOfRecord(value: unknown): Json | undefined {
  if (!isValues(value)) return isJson(value) ? value : toJson(value);
  return value.sequence === true ? toJsonShallow(value) : isJson(value) ? value : toJson(value);
}

function toJsonShallow(values: readonly unknown[]): Json {
  const copy: Json[] = [];
  for (const value of values) copy.push(isJson(value) ? value : null);
  return copy;
}

/** Holds for parts of a record, which is JSON already; the type system cannot follow a value through the language. */
const isJson = (value: unknown): value is Json => value !== undefined;

function scalarOrCopy(value: unknown): Json | undefined {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  if (typeof value === "boolean") return value;
  return toJson(value);
}
