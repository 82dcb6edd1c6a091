/** The control plane's statements. Every function takes the tenant right after the connection; another tenant's name or id is "not found". */
export { type Actor, type AuditEntry, CHANGES_CHANNEL, listAudit, listenToChanges, recordChange } from "./audit.ts";
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
export { type DeadLetterGroupRow, type DeadLetterPage, type DeadLetterRow, groupDeadLetters, listDeadLetters } from "./dead-letters.ts";
export {
  type EventAttempt,
  type EventDeadLetter,
  type EventPage,
  type EventRow,
  type EventState,
  type EventSummary,
  type EventWait,
  getEvent,
  listEvents,
  listFinished,
  listOpenBatches,
  readLastPayloads,
  stateOf,
} from "./events.ts";
export {
  cancelImport,
  finishImports,
  getImportProgress,
  type ImportProgress,
  type ImportState,
  listImportProgress,
  listRejects,
  type RejectRow,
} from "./imports.ts";
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
export {
  type Applied,
  activateVersion,
  applyVersion,
  getPipeline,
  getVersion,
  listPipelines,
  listVersions,
  markDeleting,
  type NewVersion,
  type PipelineRow,
  type PipelineState,
  pipelinesUsingConnection,
  setPipelineState,
  type VersionRow,
} from "./pipelines.ts";
export { createSecretBox, type SecretBox } from "./secret-box.ts";
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
  setVariables,
  type TenantLimits,
  type TenantRow,
} from "./tenants.ts";
