/**
 * What one evaluation may use, so that no tenant's expression can hold an event loop.
 * Steps, depth and sequence length are counted: a retry fails in the same place. Time is the backstop for what counting misses.
 */
export type ExpressionLimits = {
  /** Characters of source text. */
  readonly maxSourceLength: number;
  /** Nodes evaluated, plus elements visited by loops. */
  readonly maxSteps: number;
  /** Evaluations that wait for another one: recursion, and members of one constructor in flight. */
  readonly maxDepth: number;
  /** Elements of one sequence or range. */
  readonly maxSequenceLength: number;
  /** Characters of one padded, joined or repeated string. */
  readonly maxStringLength: number;
  /** Wall clock of one evaluation by the package; await one before you start the next, or they share it. */
  readonly timeoutMs: number;
};

export const defaultLimits: ExpressionLimits = {
  maxSourceLength: 20_000,
  maxSteps: 1_000_000,
  maxDepth: 20_000,
  maxSequenceLength: 1_000_000,
  maxStringLength: 16_000_000,
  timeoutMs: 1_000,
};

export const resolveLimits = (limits: Partial<ExpressionLimits> = {}): ExpressionLimits => ({ ...defaultLimits, ...limits });
