/**
 * What a compiled expression carries through one evaluation. One `Run` serves all evaluations of an expression: they are synchronous.
 * Every loop over data spends steps; straight-line code is bounded by the length of the source.
 */
import { JsonataFailure } from "../failure.ts";
import type { ExpressionLimits } from "../limits.ts";
import type { Node } from "../syntax.ts";

export type Evaluate = (input: unknown, run: Run) => unknown;

/** Variables of one block or one call of a lambda. */
export type Scope = { readonly values: unknown[]; readonly outer: Scope | undefined };

/** A variable that its `:=` has not reached yet; lookup goes on outside. */
export const unbound = Symbol("unbound");

export class Run {
  root: unknown;
  timeUnixMs = 0;
  scope: Scope | undefined;
  readonly maxSequenceLength: number;
  readonly maxStringLength: number;
  readonly #maxSteps: number;
  readonly #timeoutMs: number;
  #stepsLeft = 0;
  #untilClock = clockEvery;
  #endsAtMs = 0;

  constructor(limits: ExpressionLimits) {
    this.#maxSteps = limits.maxSteps;
    this.#timeoutMs = limits.timeoutMs;
    this.maxSequenceLength = limits.maxSequenceLength;
    this.maxStringLength = limits.maxStringLength;
  }

  start(root: unknown, timeUnixMs: number): void {
    this.root = root;
    this.timeUnixMs = timeUnixMs;
    this.scope = undefined;
    this.#stepsLeft = this.#maxSteps;
    this.#untilClock = clockEvery;
    this.#endsAtMs = 0; // the clock is read only by evaluations that loop
  }

  /** Once for each turn of a loop whose body evaluates something. */
  tick(): void {
    this.#stepsLeft--;
    if (--this.#untilClock === 0) this.#checkClock();
    if (this.#stepsLeft < 0) this.#tooLong(this.#maxSteps);
  }

  /** For work that is done in one go. */
  spend(steps: number): void {
    this.#stepsLeft -= steps;
    if (this.#stepsLeft < 0) this.#tooLong(this.#maxSteps);
  }

  #checkClock(): void {
    this.#untilClock = clockEvery;
    const nowMs = performance.now();
    if (this.#endsAtMs === 0) this.#endsAtMs = nowMs + this.#timeoutMs;
    else if (nowMs > this.#endsAtMs) this.#tooLong(this.#timeoutMs);
  }

  #tooLong(value: number): never {
    throw new JsonataFailure("D1012", { value });
  }
}

const clockEvery = 64;

/** Thrown while compiling: the package runs this expression. */
export class NotCompiled extends Error {
  constructor(node: Node, why: string) {
    super(`${node.type} at ${node.position ?? 0}: ${why}`);
    this.name = "NotCompiled";
  }
}

/**
 * Names in scope while compiling: `names[i]` lives in `scope.values[i]`, as many scopes out as there are `outer`s.
 * `tailContext` is on a lambda's parameters: whether built-ins called in tail position may take the context as an argument.
 */
export type Bindings = { readonly names: readonly string[]; readonly outer: Bindings | undefined; readonly tailContext?: boolean };

/** Compiles a node in the scope of `bindings`. Passed to the parts of the compiler, so that they do not import each other in circles. */
export type Compile = (node: Node, bindings: Bindings | undefined) => Evaluate;

/** How a function is called: with a first argument from outside (`first ~> $f()`); `hasContext`: a missing argument may come from the context. */
export type CallOptions = { readonly first?: Evaluate; readonly hasContext: boolean; readonly isTail: boolean };
