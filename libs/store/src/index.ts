export { type CaptureOutcome, type CaptureRequest, captureGroup } from "./capture.ts";
export { type CaptureEvent, type CaptureTarget, type LaneClass, MAX_BATCH_BYTES, MAX_BATCH_EVENTS } from "./capture-batches.ts";
export { captureImportChunk, type ImportChunk, type RejectedLine, type SourcePlace } from "./capture-import.ts";
export {
  type ClaimedBatch,
  type ClaimedRun,
  type ClaimOptions,
  type ClaimResult,
  claimRun,
  FULL_SHARE,
  type Progress,
  RUN_TARGET_BYTES,
  RUN_TARGET_EVENTS,
  readWaitingRoutes,
  type WaitingRoute,
} from "./claim.ts";
export { type Claimer, createClaimer } from "./claimer.ts";
export { type BatchRest, type CompletedBatch, type Completion, completeRun, type DeadLetterInput, type OutputInput } from "./complete.ts";
export {
  connect,
  isConnectionLost,
  openStore,
  type Sql,
  type Store,
  type StoreOptions,
  sqlStateOf,
  type Transaction,
  withPartitions,
} from "./connection.ts";
export {
  type ClaimedDelivery,
  claimDeliveries,
  claimTestDelivery,
  type DeliveryOutcome,
  type DeliveryRow,
  type DeliveryState,
  finishDelivery,
  type NoticeRow,
  pruneNotifications,
  releaseDelivery,
} from "./deliveries.ts";
export { detectGrowth } from "./detect-growth.ts";
export { detectOutages } from "./detect-outages.ts";
export { openGuardedPostgres } from "./embedded/guard.ts";
export { lockHome } from "./embedded/home-lock.ts";
export { keepEmbeddedRunning } from "./embedded/keep-running.ts";
export { type EmbeddedPostgres, type EmbeddedPostgresOptions, isRunning, openEmbeddedPostgres } from "./embedded/server.ts";
export { type LoadedEvent, loadEvents, readEvent } from "./events.ts";
export { type ExportSession, openExportSession, type SinkLock } from "./export-outputs.ts";
export type { ExportedChunk, ExportReader } from "./export-reader.ts";
export type { FileSink } from "./file-sink.ts";
export { type CapturePipelineRecord, findCapturePipeline, readPipelineStamps, stampOf } from "./gateway/capture-pipelines.ts";
export { type EventState, readEventStates, type WaitedEvent } from "./gateway/event-states.ts";
export {
  ensureInstallationValue,
  ensureTenant,
  findClientBySubject,
  insertClient,
  type NewClient,
  type PrincipalRecord,
  readClients,
} from "./gateway/principals.ts";
export { addCaptured, type CapturedCount, readTenantFigures, type TenantFigures } from "./gateway/tenant-figures.ts";
export {
  findImportByKey,
  interruptSilentImports,
  type NewImport,
  openImport,
  type ReceivedImport,
  readSettledImport,
  setImportFormat,
  stopImport,
  touchImport,
} from "./imports.ts";
export { readDatabaseIdentity, readInstallationId } from "./installation.ts";
export { takeOverLanes } from "./lane-runs.ts";
export { type Reclaimed, reclaim, registerEngine, removeEngine, renewLease, touchRun } from "./lease.ts";
export { migrate, readMigrations } from "./migrate.ts";
export { type Notice, type NoticeDetail, notify, type Topic } from "./notifications.ts";
export { loadPlans, type PlannedVersion } from "./plans.ts";
export type { Finding, FindingState } from "./reconcile/check.ts";
export { type KeptFinding, readFindings, readSystemFigures, reconcilePass, type SystemFigures, worstFirst } from "./reconcile/findings.ts";
export { type DeliveredSample, findUnknownEffects, ledgerWindowStart, sampleDelivered } from "./reconcile/ledger-samples.ts";
export { reconcile } from "./reconcile/reconcile.ts";
export {
  connectRelay,
  type LostAfter,
  type Published,
  type PublishedBatch,
  type PublishOptions,
  publishWaiting,
  reportBroker,
  unpublish,
} from "./relay/publish.ts";
export { type Backoff, blockLanes, type LaneChoice, type Release, releaseRun, unblockLanes } from "./release.ts";
export { addGoodEvents, type DeathReport, reportDeaths, WINDOW_EVENTS, type WindowKey } from "./self-pause.ts";
export { shardOf, shardVector } from "./shard.ts";
export { addProcessed, type PipelineCounts } from "./stats.ts";
export { type Swept, sweep } from "./sweep.ts";
export { listenForWakes, openWaker, WAKE_CHANNEL, type Waker } from "./wake.ts";
