/** The control plane's statements. Every function takes the tenant right after the connection; another tenant's name or id is "not found". */

export { type Applied, activateVersion, applyVersion, type NewVersion } from "./apply-version.ts";
export { type Actor, type AuditEntry, CHANGES_CHANNEL, listAudit, listenToChanges, recordChange } from "./audit.ts";
export { type BackfillOptions, startBackfill } from "./backfill.ts";
export {
  continueDiscards,
  type DeletingPipeline,
  type DiscardCode,
  type DiscardOptions,
  discardBacklog,
  listDeleting,
  type PipelineFigures,
  readFigures,
  removeDrained,
} from "./backlog.ts";
export { hashSecret, makeClientId, makeClientSecret, verifySecret } from "./client-secret.ts";
export {
  type ConnectionRow,
  connectionForRun,
  deleteConnection,
  getConnection,
  listConnections,
  putConnection,
  type RunConnection,
} from "./connections.ts";
export { type DeadLetterFilter, requireCondition, resolvePipeline } from "./dead-letter-filter.ts";
export {
  type DeadLetterGroupRow,
  type DeadLetterPage,
  type DeadLetterRow,
  getDeadLetter,
  groupDeadLetters,
  listDeadLetters,
} from "./dead-letters.ts";
export { type EventDelivery, listEventDeliveries } from "./event-deliveries.ts";
export { type EventPage, type EventState, type EventSummary, listEvents, listFinished, listOpenBatches, stateOf } from "./event-lists.ts";
export { type EventPlace, readEventPlaces } from "./event-places.ts";
export type { EventWait } from "./event-wait.ts";
export { type EventAttempt, type EventDeadLetter, type EventRow, getEvent, readLastPayloads } from "./events.ts";
export {
  cancelImport,
  finishImports,
  getImportProgress,
  type ImportProgress,
  type ImportState,
  listImportProgress,
  listRejects,
  type RejectRow,
  resumeImport,
} from "./imports.ts";
export { workSome } from "./job-batches.ts";
export { listSome, type Verdict } from "./job-list.ts";
export {
  cancelJob,
  getJob,
  type JobKind,
  type JobPage,
  type JobRow,
  type JobState,
  listJobs,
  listOpenJobs,
  type OpenJob,
  purgeEndedJobs,
} from "./jobs.ts";
export { type LastEvent, readLastEvents } from "./last-events.ts";
export { type LetterSource, readLetterSources } from "./letter-sources.ts";
export {
  createLookups,
  deleteLookup,
  findLookup,
  getLookup,
  type LookupRecord,
  type LookupRow,
  type Lookups,
  listLookups,
  putLookup,
  type TenantLookups,
} from "./lookups.ts";
export { listOutputs, OUTPUTS_SINK, type OutputCursor, type OutputRow } from "./outputs.ts";
export { markDeleting, setPipelineState } from "./pipeline-state.ts";
export { getPipeline, listPipelines, type PipelineRow, type PipelineState, pipelinesUsingConnection } from "./pipelines.ts";
export {
  type DiscardLettersOptions,
  type EventReplay,
  type ReplayOptions,
  startDiscard,
  startEventReplay,
  startReplay,
} from "./replay.ts";
export { createSecretBox, type SecretBox } from "./secret-box.ts";
export { settleStrandedLetters } from "./stranded-letters.ts";
export {
  createSubscription,
  deleteSubscription,
  getSubscription,
  listDeliveries,
  listSubscriptions,
  placeOfSubscription,
  rotateSubscriptionSecret,
  type SubscriptionChange,
  type SubscriptionRow,
  updateSubscription,
} from "./subscriptions.ts";
export {
  type ClientRow,
  createClient,
  createTenant,
  findTenant,
  getTenant,
  listClients,
  type NewClient,
  readVariables,
  revokeClient,
  setLimits,
  setRetention,
  setVariables,
  type TenantLimits,
  type TenantRow,
} from "./tenants.ts";
export { findActivePlan, getVersion, listVersions, type VersionRow } from "./versions.ts";
