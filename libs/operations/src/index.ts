export { applySteps, type InputRecord, type RecordResult } from "./apply-steps.ts";
export { checkConfig } from "./check-config.ts";
export { compileExpression, type EvaluationClock, type Expression, type ExpressionLimits } from "./expression/index.ts";
export type { LookupPort, Operation, OperationDeps, PreparedRecord, RecordClock, Step } from "./operation.ts";
export { findOperation, operations } from "./registry.ts";
export { closest } from "./schema/closest.ts";
export { compileSchema, type SchemaCheck, schemaProblems } from "./schema/compile-schema.ts";
export { type Pattern, compilePattern, patternProblem } from "./schema/regexp.ts";
export { StepCache } from "./step-cache.ts";
