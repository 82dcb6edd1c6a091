/**
 * Runs an expression with the `jsonata` package: the reference, and what runs whatever the compiler does not cover.
 * Invariants: `$now`, `$millis` and the missing parts of `$toMillis` come from the clock; steps are counted, so a retry fails in the same place;
 * evaluations that overlap do not see each other's clock; the record is not changed.
 */

import type { Json } from "@onedata/core";
import type jsonata from "jsonata";
import { type Builtin, type BuiltinName, builtins, isBuiltinName } from "./builtins.ts";
import { guardedBuiltins } from "./compiler/guarded-builtins.ts";
import { measured, rangeBound } from "./compiler/operators.ts";
import { Run } from "./compiler/run.ts";
import { mergeSortAsync } from "./compiler/sort.ts";
import { toJson } from "./exact.ts";
import { JsonataFailure } from "./failure.ts";
import type { ExpressionLimits } from "./limits.ts";
import { LinearRegex } from "./regex.ts";
import { forEachNode, type Node, type Parsed } from "./syntax.ts";

export type EvaluationClock = { readonly timeUnixMs: number };

/** What the package reads on every node it evaluates; a getter is the only place where it lets us count. */
export class PackageGuard implements jsonata.JsonataOptions {
  // The package asks for a RegExp constructor and uses `new`, `lastIndex` and `exec` alone.
  readonly RegexEngine = LinearRegex as unknown as RegExpConstructor;
  readonly timeout: number;
  readonly sequence: number;
  readonly run: Run;
  readonly #limits: ExpressionLimits;
  #running = 0;
  #steps = 0;

  constructor(limits: ExpressionLimits) {
    this.#limits = limits;
    this.timeout = limits.timeoutMs;
    this.sequence = limits.maxSequenceLength;
    this.run = new Run(limits);
  }

  get stack(): number {
    // Read twice per node; overlapping evaluations share what they are allowed together.
    if (++this.#steps > 2 * this.#limits.maxSteps * Math.max(1, this.#running)) throw new JsonataFailure("D1012", { value: this.#limits.maxSteps });
    return this.#limits.maxDepth;
  }

  enter(): void {
    if (this.#running++ > 0) return;
    this.#steps = 0;
    this.run.start(undefined, 0);
  }

  leave(): void {
    this.#running--;
  }
}

export type PackageEvaluate = (record: Json, clock: EvaluationClock) => Promise<unknown>;

/**
 * Takes the parsed expression over: its tree is changed so that some operands are checked.
 * `own`: keep the package's own built-ins, which tests hold ours against.
 */
export function prepareForPackage(parsed: Parsed, guard: PackageGuard, own = false): PackageEvaluate {
  checkOperands(parsed.root);
  for (const [name, builtin] of Object.entries(staticBindings(guard.run))) if (!own || !isBuiltinName(name)) parsed.package.assign(name, builtin);
  // The package's object constructor adds an item to an empty array that it meets.
  const changesRecord = hasConstructor(parsed.root);
  return async (record, clock) => {
    guard.enter();
    try {
      return await parsed.package.evaluate(changesRecord ? toJson(record) : record, clockBindings(clock, guard.run));
    } finally {
      guard.leave();
    }
  };
}

/** Names that no expression can write. */
const rangeCheck = "range bound";
const sizeCheck = "tree size";

/** Operators that the package would run without end on some values get their operands through a check. */
const checks: Record<string, string> = { "..": rangeCheck, "&": sizeCheck, "=": sizeCheck, "!=": sizeCheck };

function checkOperands(root: Node): void {
  const operators: { readonly node: Node; readonly check: string }[] = [];
  forEachNode(root, (node) => {
    const check = node.type === "binary" && typeof node.value === "string" ? checks[node.value] : undefined;
    if (check !== undefined) operators.push({ node, check });
  });
  const checked = (operand: Node["rhs"] | Node["lhs"], check: string, position: number | undefined): object => ({
    type: "function",
    value: "(",
    position,
    arguments: [operand],
    procedure: { type: "variable", value: check, position },
  });
  const isLiteral = (operand: Node["rhs"] | Node["lhs"]): boolean =>
    operand !== undefined && "type" in operand && /^(string|number|value)$/.test(operand.type);
  for (const { node, check } of operators) {
    for (const side of ["lhs", "rhs"] as const) {
      if (check === rangeCheck || !isLiteral(node[side])) Object.assign(node, { [side]: checked(node[side], check, node.position) });
    }
  }
}

function hasConstructor(root: Node): boolean {
  let found = false;
  forEachNode(root, (node) => {
    found ||= node.group !== undefined || (node.type === "unary" && node.value === "{");
  });
  return found;
}

/** The package reads names and number of parameters where a function is applied in part, or handed to `$map`. */
export function staticBindings(run: Run): Record<string, Builtin> {
  const over = (name: BuiltinName, implementation: Builtin["implementation"]): Builtin => ({ ...builtins()[name], implementation });
  const { string, join, pad, formatInteger, formatNumber, append, spread, distinct } = guardedBuiltins;
  return {
    [rangeCheck]: { _jsonata_function: true, implementation: (value) => rangeBound(value) },
    [sizeCheck]: { _jsonata_function: true, implementation: (value) => (typeof value === "function" ? value : measured(value, run)) },
    string: over("string", function (arg, prettify = false) {
      return string(run, arg, prettify);
    }),
    join: over("join", function (strs, separator) {
      return join(run, strs, separator);
    }),
    pad: over("pad", function (str, width, char) {
      return pad(run, str, width, char);
    }),
    formatInteger: over("formatInteger", function (value, picture) {
      return formatInteger(run, value, picture);
    }),
    formatNumber: over("formatNumber", function (value, picture, options) {
      return formatNumber(run, value, picture, options);
    }),
    append: over("append", function (arg1, arg2) {
      return append(run, arg1, arg2);
    }),
    spread: over("spread", function (arg) {
      return spread(run, arg);
    }),
    distinct: over("distinct", function (arr) {
      return distinct(run, arr);
    }),
    sort: over("sort", function (arr, comparator) {
      return mergeSortAsync(arr, comparator, run, (values) => builtins().sort.implementation.call(this, values));
    }),
  };
}

/** Bound per evaluation: the package keeps its timestamp per expression, where overlapping evaluations overwrite it. */
function clockBindings({ timeUnixMs }: EvaluationClock, run: Run): Record<string, Builtin> {
  const { now, millis, toMillis, fromMillis } = builtins();
  return {
    now: {
      ...now,
      implementation: function (picture, timezone) {
        return fromMillis.implementation.call(this, timeUnixMs, picture, timezone);
      },
    },
    millis: { ...millis, implementation: () => timeUnixMs },
    toMillis: {
      ...toMillis,
      implementation: function (timestamp, picture) {
        run.timeUnixMs = timeUnixMs; // read before the call ends
        return guardedBuiltins.toMillis(run, timestamp, picture);
      },
    },
  };
}
