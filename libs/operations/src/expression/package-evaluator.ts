/**
 * Runs an expression with the `jsonata` package: the reference, and what runs whatever the compiler does not cover.
 * Invariants: `$now`, `$millis` and the missing parts of `$toMillis` come from the clock; steps are counted, so a retry fails in the same place;
 * evaluations that overlap do not see each other's clock; the record is not changed.
 */

import type { Json } from "@onedata/core";
import type jsonata from "jsonata";
import { type Builtin, type BuiltinName, builtins } from "./builtins.ts";
import { guardedBuiltins } from "./compiler/guarded-builtins.ts";
import { rangeBound } from "./compiler/operators.ts";
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

/** Takes the parsed expression over: its tree is changed so that ranges are checked. */
export function prepareForPackage(parsed: Parsed, guard: PackageGuard): PackageEvaluate {
  checkRanges(parsed.root);
  for (const [name, builtin] of Object.entries(staticBindings(guard.run))) parsed.package.assign(name, builtin);
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

/** A name that no expression can write. */
const rangeCheck = "range bound";

function checkRanges(root: Node): void {
  const ranges: Node[] = [];
  forEachNode(root, (node) => {
    if (node.type === "binary" && node.value === "..") ranges.push(node);
  });
  const checked = (bound: Node["rhs"] | Node["lhs"], position: number | undefined): object => ({
    type: "function",
    value: "(",
    position,
    arguments: [bound],
    procedure: { type: "variable", value: rangeCheck, position },
  });
  for (const range of ranges) Object.assign(range, { lhs: checked(range.lhs, range.position), rhs: checked(range.rhs, range.position) });
}

function hasConstructor(root: Node): boolean {
  let found = false;
  forEachNode(root, (node) => {
    found ||= node.group !== undefined || (node.type === "unary" && node.value === "{");
  });
  return found;
}

/** The parameter names are read by the package when a function is partially applied. */
function staticBindings(run: Run): Record<string, Builtin> {
  const over = (name: BuiltinName, implementation: Builtin["implementation"]): Builtin => ({ ...builtins()[name], implementation });
  const { pad, formatInteger, formatNumber, append, spread, distinct } = guardedBuiltins;
  return {
    [rangeCheck]: { _jsonata_function: true, implementation: (value) => rangeBound(value) },
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
