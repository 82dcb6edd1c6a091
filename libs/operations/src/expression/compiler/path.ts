/**
 * Paths, filters and order-by. The rules (when a step flattens, when an array stays as it is) are the package's, step for step;
 * the short cut is a chain of names through plain objects, which makes no array at all.
 */
import { ExactNumber } from "@onedata/core";
import type { Node, Stage } from "../syntax.ts";
import { compileGroup } from "./group.ts";
import { isNumeric, truthy } from "./operators.ts";
import { type Bindings, type Compile, type Evaluate, NotCompiled, type Run } from "./run.ts";
import { compileSort } from "./sort.ts";
import { collapse, createSequence, isMembers, isValues, sequenceOf, type Values } from "./values.ts";

type Step = (inputs: Values, run: Run, isLast: boolean) => Values;

export function compilePath(node: Node, bindings: Bindings | undefined, compile: Compile): Evaluate {
  const nodes = node.steps ?? [];
  for (const step of nodes) {
    if (step.tuple === true || step.focus !== undefined || step.index !== undefined || step.ancestor !== undefined)
      throw new NotCompiled(step, "binds variables along a path");
  }
  if (node.tuple === true) throw new NotCompiled(node, "seeks a parent");
  const first = nodes[0];
  if (first === undefined) throw new NotCompiled(node, "is empty");
  const group = node.group === undefined ? undefined : compileGroup(node.group.lhs, node.group.position, bindings, compile);
  const keepSingleton = node.keepSingletonArray === true;
  const steps = nodes.map((step, index) => compileStep(step, index, bindings, compile));
  const fromVariable = first.type === "variable";
  const names = plainNames(nodes);
  const keepArray = node.keepArray === true;
  const walk = (input: unknown, from: number, run: Run): unknown => {
    const result = walkSteps(steps, from, input, run, keepSingleton);
    return group === undefined ? collapse(result, keepArray) : group(result, run);
  };
  if (names !== undefined && group === undefined && !keepSingleton && !keepArray) return compileNames(names, walk);
  return (input, run) => walk(fromVariable && isValues(input) ? sequenceOf(input) : input, 0, run);
}

/** The names of a path that is nothing but names, for instance `customer.address.city`. */
export function plainNames(nodes: readonly Node[]): readonly string[] | undefined {
  const names: string[] = [];
  for (const step of nodes) {
    const isPlain =
      step.type === "name" &&
      step.stages === undefined &&
      step.predicate === undefined &&
      step.group === undefined &&
      step.keepArray !== true &&
      step.tuple !== true;
    if (!isPlain || typeof step.value !== "string") return undefined;
    names.push(step.value);
  }
  return names;
}

/** Names that objects have without being members of a record; all others can be read without asking whether the object owns them. */
const inherited = new ExactNumber("0");
const isInherited = (name: string): boolean => name in inherited;

function compileNames(names: readonly string[], walk: (input: unknown, from: number, run: Run) => unknown): Evaluate {
  const [only] = names;
  const last = names.length - 1;
  const careful = names.some(isInherited);
  if (only !== undefined && last === 0 && !careful) {
    return (input, run) => {
      if (!isMembers(input)) return isValues(input) ? walk(input, 0, run) : undefined;
      const value = input[only];
      return isValues(value) && value.sequence === true ? walk(input, 0, run) : value;
    };
  }
  return (input, run) => {
    let current = input;
    for (let i = 0; i <= last; i++) {
      const name = names[i];
      if (name === undefined) return undefined;
      if (isValues(current)) return walk(i === 0 ? current : collapse(current, false), i, run);
      if (!isMembers(current)) return undefined;
      if (careful && (current instanceof ExactNumber || !Object.hasOwn(current, name))) return undefined;
      current = current[name];
    }
    return isValues(current) && current.sequence === true ? walk(input, 0, run) : current;
  };
}

function walkSteps(steps: readonly Step[], from: number, input: unknown, run: Run, keepSingleton: boolean): Values {
  let current: Values = isValues(input) ? input : sequenceOf(input);
  let result = current;
  for (let i = from; i < steps.length; i++) {
    const step = steps[i];
    if (step === undefined) break;
    result = step(current, run, i === steps.length - 1);
    if (result.length === 0) break;
    current = result;
  }
  if (keepSingleton) {
    if (result.cons === true && result.sequence !== true) result = sequenceOf(result);
    if (result.sequence === true) result.keepSingleton = true; // without effect on other arrays, which may be the record's
  }
  return result;
}

function compileStep(node: Node, index: number, bindings: Bindings | undefined, compile: Compile): Step {
  if (node.type === "sort") return compileSort(node, filtersOf(node.stages, bindings, compile), bindings, compile);
  if (index === 0 && node.consarray === true) {
    // An explicit array first in a path sees the whole context, once.
    if (node.type !== "unary" || node.predicate !== undefined || node.group !== undefined || node.stages !== undefined)
      throw new NotCompiled(node, "array at the start of a path");
    const evaluate = compile(node, bindings);
    return (inputs, run) => {
      const value = evaluate(inputs, run);
      return isValues(value) ? value : sequenceOf(value);
    };
  }
  const evaluate = node.type === "name" && node.predicate === undefined && node.group === undefined ? compileName(node) : compile(node, bindings);
  const filters = filtersOf(node.stages, bindings, compile);
  return (inputs, run, isLast) => {
    const results: unknown[] = [];
    for (let i = 0; i < inputs.length; i++) {
      run.tick();
      let value = evaluate(inputs[i], run);
      for (const filter of filters) value = filter(value, run);
      if (value !== undefined) results.push(value);
    }
    const [single] = results;
    return isLast && results.length === 1 && isValues(single) && single.sequence !== true ? single : flatten(results, run);
  };
}

function flatten(results: readonly unknown[], run: Run): Values {
  const flat = createSequence();
  for (const value of results) {
    if (!isValues(value) || value.cons === true) {
      flat.push(value);
    } else {
      run.spend(value.length);
      for (const item of value) flat.push(item);
    }
  }
  return flat;
}

export function compileName(node: Node): Evaluate {
  const name = String(node.value);
  const keepArray = node.keepArray === true;
  const careful = isInherited(name);
  return (input, run) => collapse(lookup(input, name, careful, run), keepArray);
}

function lookup(input: unknown, name: string, careful: boolean, run: Run): unknown {
  if (isMembers(input)) return careful && (input instanceof ExactNumber || !Object.hasOwn(input, name)) ? undefined : input[name];
  if (!isValues(input)) return undefined;
  run.spend(input.length);
  const found = createSequence();
  for (const item of input) {
    const value = lookup(item, name, careful, run);
    if (isValues(value)) for (const inner of value) found.push(inner);
    else if (value !== undefined) found.push(value);
  }
  return found;
}

export type Filter = (input: unknown, run: Run) => unknown;

export function filtersOf(stages: readonly Stage[] | undefined, bindings: Bindings | undefined, compile: Compile): readonly Filter[] {
  return (stages ?? []).map(({ type, expr }) => {
    if (type !== "filter") throw new NotCompiled(expr, "binds an index");
    return expr.type === "number" && typeof expr.value === "number" ? itemAt(Math.floor(expr.value)) : filterBy(compile(expr, bindings));
  });
}

function itemAt(index: number): Filter {
  return (input) => {
    const values = isValues(input) ? input : [input];
    const item = values[index < 0 ? values.length + index : index];
    if (isValues(item)) return item;
    return item === undefined ? createSequence() : sequenceOf(item);
  };
}

function filterBy(predicate: Evaluate): Filter {
  return (input, run) => {
    const values = isValues(input) ? input : [input];
    const kept = createSequence();
    for (let i = 0; i < values.length; i++) {
      run.tick();
      const answer = predicate(values[i], run);
      if (answer === true) kept.push(values[i]);
      else if (answer !== false) keepTimes(answer, i, values, kept, run);
    }
    return kept;
  };
}

/** A number, or an array of only numbers, chooses by position; anything else by its truth. */
function keepTimes(answer: unknown, index: number, values: readonly unknown[], kept: Values, run: Run): void {
  const positions = isNumeric(answer) ? [answer] : answer;
  if (!isValues(positions) || !areNumbers(positions)) {
    if (truthy(answer, run)) kept.push(values[index]);
    return;
  }
  run.spend(positions.length);
  for (const position of positions) {
    const floor = Math.floor(Number(position));
    if ((floor < 0 ? values.length + floor : floor) === index) kept.push(values[index]);
  }
}

/** Looks at every item, as the package does: an Infinity anywhere is an error. */
export function areNumbers(values: readonly unknown[]): boolean {
  return values.filter((value) => !isNumeric(value)).length === 0;
}
