/**
 * `compileExpression(source)`: JSONata, checked once when a pipeline is applied and evaluated per record.
 * Duty: limits, the capture clock, errors as data faults. Non-duty: the language itself, which is the `jsonata` package's.
 * The common part of the language is compiled to synchronous closures; the rest runs in the package, expression by expression, with the same answers.
 */
import type { Json } from "@onedata/core";
import { type Answer, compileAnswer } from "./compiler/result.ts";
import { NotCompiled, Run } from "./compiler/run.ts";
import { toJson, withDoubles } from "./exact.ts";
import { failedExpression } from "./failure.ts";
import { type ExpressionLimits, resolveLimits } from "./limits.ts";
import { type EvaluationClock, PackageGuard, prepareForPackage } from "./package-evaluator.ts";
import { readPaths } from "./paths.ts";
import { type Node, type Parsed, parseExpression } from "./syntax.ts";

export interface Expression {
  readonly source: string;
  /** True: closures, and `evaluateSync` is there. False: the package runs it, about ten times slower. */
  readonly compiled: boolean;
  /** Top-level members of the record that it reads. */
  readonly paths: readonly string[];
  /** True when it may read any member (`$`, `*`, a variable of the whole record): `paths` is then not the whole truth. */
  readonly readsWholeRecord: boolean;
  /**
   * The result as plain JSON, undefined when absent. Parts of the record may be shared with it: treat both as immutable.
   * Await one evaluation before the next: overlapping ones share their time limit.
   * @throws OneDataError `expression.failed` with the expression, the position and the value.
   */
  evaluate(record: Json, clock: EvaluationClock): Json | undefined | Promise<Json | undefined>;
  /** The same without a promise; only where `compiled`. */
  readonly evaluateSync?: (record: Json, clock: EvaluationClock) => Json | undefined;
}

/** @throws OneDataError `expression.invalid` with the position and what to do. */
export function compileExpression(source: string, limits?: Partial<ExpressionLimits>): Expression {
  const resolved = resolveLimits(limits);
  const guard = new PackageGuard(resolved);
  const parsed = parseExpression(source, resolved, guard);
  const answer = compiledOrNot(parsed.root);
  return answer === undefined ? runByPackage(parsed, guard) : runByClosures(parsed, answer, resolved);
}

function compiledOrNot(root: Node): Answer | undefined {
  try {
    return compileAnswer(root);
  } catch (error) {
    if (error instanceof NotCompiled) return undefined;
    throw error;
  }
}

function runByClosures({ source, root }: Parsed, answer: Answer, limits: ExpressionLimits): Expression {
  const reads = readPaths(root);
  const run = new Run(limits);
  const convert = reads.readsWholeRecord ? undefined : reads.paths;
  const evaluateSync = (record: Json, clock: EvaluationClock): Json | undefined => {
    try {
      const plain = withDoubles(record, convert);
      run.start(plain, clock.timeUnixMs);
      return answer(record, plain, run);
    } catch (error) {
      throw failedExpression(source, error);
    }
  };
  return { source, compiled: true, ...reads, evaluate: evaluateSync, evaluateSync };
}

/** Exported for the tests that hold the closures against it; `own` keeps the package's own built-ins. */
export function runByPackage(parsed: Parsed, guard: PackageGuard, own = false): Expression {
  const { source } = parsed;
  const reads = readPaths(parsed.root);
  const convert = reads.readsWholeRecord ? undefined : reads.paths;
  const answer = prepareForPackage(parsed, guard, own);
  const evaluate = async (record: Json, clock: EvaluationClock): Promise<Json | undefined> => {
    try {
      return toJson(await answer(withDoubles(record, convert), clock));
    } catch (error) {
      throw failedExpression(source, error);
    }
  };
  return { source, compiled: false, ...reads, evaluate };
}
