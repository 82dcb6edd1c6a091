/**
 * `compileExpression(source)`: JSONata, checked once when a pipeline is applied and evaluated per record.
 * Duty: limits, the capture clock, errors as data faults. Non-duty: the language itself, which is the `jsonata` package's.
 * The common part of the language is compiled to synchronous closures; the rest runs in the package, expression by expression, with the same answers.
 */
import type { Json } from "@onedata/core";
import { toJson, withDoubles } from "./exact.ts";
import { failedExpression } from "./failure.ts";
import { type ExpressionLimits, resolveLimits } from "./limits.ts";
import { type EvaluationClock, PackageGuard, evaluateWithPackage } from "./package-evaluator.ts";
import { readPaths } from "./paths.ts";
import { parseExpression } from "./syntax.ts";

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
  const { paths, readsWholeRecord } = readPaths(parsed.root);
  const exactPaths = readsWholeRecord ? undefined : paths;
  return {
    source,
    compiled: false,
    paths,
    readsWholeRecord,
    evaluate: async (record, clock) => {
      try {
        return toJson(await evaluateWithPackage(parsed.package, guard, resolved, withDoubles(record, exactPaths), clock));
      } catch (error) {
        throw failedExpression(source, error);
      }
    },
  };
}
