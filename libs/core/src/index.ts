export type { Clock } from "./clock.ts";
export { type CatalogueRow, catalogue, type ErrorCode, type GrpcStatus, isErrorCode } from "./errors/catalogue.ts";
export { OneDataError, type OneDataErrorOptions, type Problem, type Violation } from "./errors/onedata-error.ts";
export {
  type BatchId,
  type EventId,
  formatEventId,
  formatId,
  fromBase32,
  type IdPrefix,
  type LaneId,
  type PipelineId,
  parseEventId,
  parseId,
  type TenantId,
  toBase32,
  toBatchId,
  toLaneId,
  toPipelineId,
  toTenantId,
} from "./ids.ts";
export { ExactNumber, isJsonObject, type Json, type JsonObject, setMember, toPointer } from "./json.ts";
export { keepNewest } from "./keep-newest.ts";
export { type LabDeps, type LabRecord, type LabSubject, runInLab, runSpecTests, type TestOutcome } from "./lab/lab.ts";
export { FILTERED, type OperationDescription, type OperationEffects, type OperationExample, type OperationShape, type Outcome } from "./operation.ts";
export { type Catalogue, type CatalogueEntry, ENGINE, type Plan, type PlanSink, type PlanStep, type Stage, type StageInput } from "./plan/plan.ts";
export { canonicalJson, type PlanDeps, type Planned, planPipeline } from "./plan/plan-pipeline.ts";
export {
  DEFAULT_RETRIES,
  DEFAULT_SELF_PAUSE,
  MAX_STEPS,
  type PipelineSpec,
  readSpec,
  type SelfPause,
  type SinkSpec,
  type StepSpec,
  type TestSpec,
} from "./plan/spec.ts";
export { raceSignal } from "./race-signal.ts";
export { type CallFaultClass, classifyCallError, type FaultEffect, ServiceFault } from "./run/call-fault.ts";
export { executeRun } from "./run/execute-run.ts";
export { fingerprintOf, shapeOf, toldShapeOf } from "./run/fingerprint.ts";
export {
  type DeadCause,
  type EngineOutput,
  type EventResult,
  type GroupResult,
  MAX_CALL_BYTES,
  MAX_CALL_RECORDS,
  type PlaceTries,
  type RetryCause,
  type RunDeps,
  type RunEvent,
  type RunGroup,
  type RunResult,
  type RunServices,
  type StageTiming,
  type StepObservation,
} from "./run/run.ts";
export { createSinkWitness, type SinkWitness } from "./run/sink-witness.ts";
export { GUILTY_AFTER, pieceSize, SUSPECT_AFTER } from "./run/suspicion.ts";
export { fromVerdictByte, PENDING, toVerdictByte, type Verdict } from "./run/verdict.ts";
export { didYouMean, suggestName } from "./suggest.ts";
