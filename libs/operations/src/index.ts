export { applySteps, type InputRecord, type Pace, type RecordResult } from "./apply-steps.ts";
export { checkConfig } from "./check-config.ts";
export { toLookupTable } from "./enrich.lookup/table-config.ts";
export { createEvaluateWhen, type EvaluateWhen } from "./evaluate-when.ts";
export { compileExpression, type EvaluationClock, type Expression, type ExpressionLimits } from "./expression/index.ts";
export type {
  LookupPort,
  Operation,
  OperationDeps,
  PreparedRecord,
  RecordClock,
  Step,
  StepCall,
  TablePort,
  TableQuery,
  TableRow,
} from "./operation.ts";
export { withCall } from "./operation.ts";
export { findOperation, operations } from "./registry.ts";
export { closest } from "./schema/closest.ts";
export { compileSchema, type SchemaCheck, schemaProblems } from "./schema/compile-schema.ts";
export { compilePattern, type Pattern, patternProblem } from "./schema/regexp.ts";
export { StepCache } from "./step-cache.ts";
export { declaredMembers, warnExpressions } from "./warn-expressions.ts";
