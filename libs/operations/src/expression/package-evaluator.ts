/**
 * Runs an expression with the `jsonata` package: the reference, and what runs whatever the compiler does not cover.
 * Invariants: `$now`, `$millis` and the missing parts of `$toMillis` come from the clock; steps are counted, so a retry fails in the same place;
 * evaluations that overlap do not see each other's clock.
 */
import type jsonata from "jsonata";
import type { Json } from "@onedata/core";
import { type Builtin, builtins } from "./builtins.ts";
import { JsonataFailure } from "./failure.ts";
import type { ExpressionLimits } from "./limits.ts";
import { LinearRegex } from "./regex.ts";

export type EvaluationClock = { readonly timeUnixMs: number };

/** What the package calls on every node it evaluates; a getter is the only place where it lets us count. */
export class PackageGuard implements jsonata.JsonataOptions {
  // The package asks for a RegExp constructor and uses `new`, `lastIndex` and `exec` alone.
  readonly RegexEngine = LinearRegex as unknown as RegExpConstructor;
  readonly timeout: number;
  readonly sequence: number;
  readonly #limits: ExpressionLimits;
  #running = 0;
  #steps = 0;

  constructor(limits: ExpressionLimits) {
    this.#limits = limits;
    this.timeout = limits.timeoutMs;
    this.sequence = limits.maxSequenceLength;
  }

  get stack(): number {
    // Read twice per node; overlapping evaluations share what they are allowed together.
    if (++this.#steps > 2 * this.#limits.maxSteps * Math.max(1, this.#running)) throw new JsonataFailure("D1012", { value: this.#limits.maxSteps });
    return this.#limits.maxDepth;
  }

  enter(): void {
    if (this.#running++ === 0) this.#steps = 0;
  }

  leave(): void {
    this.#running--;
  }
}

export async function evaluateWithPackage(expression: jsonata.Expression, guard: PackageGuard, limits: ExpressionLimits, record: Json, clock: EvaluationClock): Promise<unknown> {
  guard.enter();
  try {
    return await expression.evaluate(record, bindingsFor(clock, limits));
  } finally {
    guard.leave();
  }
}

/**
 * Built-ins that differ from the package's. Bound per evaluation: the package keeps its timestamp per expression, where overlapping
 * evaluations overwrite it. The parameter names are read by the package when a function is partially applied.
 */
function bindingsFor(clock: EvaluationClock, limits: ExpressionLimits): Record<string, Builtin> {
  const { now, millis, toMillis, fromMillis, pad } = builtins();
  return {
    now: {
      ...now,
      implementation: function (picture, timezone) {
        return fromMillis.implementation.call(this, clock.timeUnixMs, picture, timezone);
      },
    },
    millis: { ...millis, implementation: () => clock.timeUnixMs },
    toMillis: {
      ...toMillis,
      implementation: function (timestamp, picture) {
        return toMillis.implementation.call({ environment: { timestamp: new Date(clock.timeUnixMs) } }, timestamp, picture);
      },
    },
    pad: {
      ...pad,
      implementation: function (str, width, char) {
        if (typeof width === "number" && Math.abs(width) > limits.maxStringLength) throw new JsonataFailure("D2015", { value: width, message: "the padded text is too long" });
        return pad.implementation.call(this, str, width, char);
      },
    },
  };
}
