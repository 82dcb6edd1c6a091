export { compileExpression, type Expression } from "./expression.ts";
export { jsonataCode } from "./failure.ts";
export { defaultLimits, type ExpressionLimits } from "./limits.ts";
export type { EvaluationClock } from "./package-evaluator.ts";
