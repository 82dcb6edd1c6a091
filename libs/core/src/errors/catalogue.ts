/**
 * Every error code the product speaks. HTTP status, gRPC status, retry verdict, metric label and docs all derive from a row here.
 * `retry`: "never" = the same request fails again; "later" = may succeed unchanged; "free" = retried inside, at no cost to the user's limits.
 */
export type GrpcStatus =
  | "INVALID_ARGUMENT"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "UNAUTHENTICATED"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "UNIMPLEMENTED"
  | "INTERNAL"
  | "UNAVAILABLE"
  | "DEADLINE_EXCEEDED"
  | "CANCELLED";

export type CatalogueRow = { readonly http: number; readonly grpc: GrpcStatus; readonly retry: "never" | "later" | "free"; readonly title: string };

const row = (http: number, grpc: GrpcStatus, retry: CatalogueRow["retry"], title: string): CatalogueRow => ({ http, grpc, retry, title });

export const catalogue = {
  // requests
  "request.malformed": row(400, "INVALID_ARGUMENT", "never", "The request could not be read"),
  "request.invalid": row(400, "INVALID_ARGUMENT", "never", "The request breaks a rule of the contract"),
  "request.too_large": row(413, "INVALID_ARGUMENT", "never", "The request is too large"),
  "request.unsupported_media_type": row(415, "INVALID_ARGUMENT", "never", "The media type is not supported"),
  "request.timeout": row(504, "DEADLINE_EXCEEDED", "later", "The request took too long"),
  "request.precondition_failed": row(412, "FAILED_PRECONDITION", "never", "The resource has changed"),
  "route.not_found": row(404, "UNIMPLEMENTED", "never", "No such route"),
  "route.method_not_allowed": row(405, "UNIMPLEMENTED", "never", "The route does not take this method"),
  // identity
  "auth.unauthenticated": row(401, "UNAUTHENTICATED", "never", "No valid access token"),
  "auth.scope_missing": row(403, "PERMISSION_DENIED", "never", "The access token lacks a scope"),
  "auth.caller_denied": row(403, "PERMISSION_DENIED", "never", "This service may not call this method"),
  // capture
  "capture.json_malformed": row(400, "INVALID_ARGUMENT", "never", "The payload is not valid JSON"),
  "capture.utf8_invalid": row(400, "INVALID_ARGUMENT", "never", "The payload is not valid UTF-8"),
  "capture.schema_mismatch": row(422, "INVALID_ARGUMENT", "never", "The payload does not match the pipeline's input schema"),
  "capture.quota_exceeded": row(429, "RESOURCE_EXHAUSTED", "later", "A quota of the tenant is used up"),
  "capture.overloaded": row(503, "UNAVAILABLE", "later", "The gateway has no room for more requests"),
  "tenant.share_exceeded": row(429, "RESOURCE_EXHAUSTED", "later", "The tenant has too much in flight at once"),
  "capture.disk_full": row(503, "UNAVAILABLE", "later", "The storage is nearly full"),
  "capture.idempotency_conflict": row(409, "ALREADY_EXISTS", "never", "The idempotency key was used with another payload"),
  "capture.idempotency_busy": row(409, "ABORTED", "later", "The idempotency key is held by an open transaction"),
  "capture.unknown": row(503, "UNAVAILABLE", "later", "It is not known whether the event was captured"),
  // things
  "pipeline.not_found": row(404, "NOT_FOUND", "never", "No such pipeline"),
  "pipeline.deleting": row(404, "NOT_FOUND", "never", "The pipeline is being deleted"),
  "pipeline.invalid": row(422, "INVALID_ARGUMENT", "never", "The pipeline's spec has problems"),
  "pipeline.tests_failed": row(422, "FAILED_PRECONDITION", "never", "The pipeline's own tests fail"),
  "pipeline.would_kill": row(409, "FAILED_PRECONDITION", "never", "The new version lets events die that live now"),
  "pipeline.conflict": row(409, "ABORTED", "never", "The pipeline's state does not allow this"),
  "pipeline.deleted": row(410, "NOT_FOUND", "never", "The pipeline was deleted with its backlog"),
  "pipeline.discarded": row(410, "NOT_FOUND", "never", "The backlog was discarded"),
  "version.not_found": row(404, "NOT_FOUND", "never", "No such version"),
  "event.not_found": row(404, "NOT_FOUND", "never", "No such event"),
  "event.not_done": row(409, "ABORTED", "later", "The event has no verdict yet"),
  "event.conflict": row(409, "ABORTED", "later", "A replay of the event is under way"),
  "job.not_found": row(404, "NOT_FOUND", "never", "No such job"),
  "job.conflict": row(409, "ABORTED", "never", "The job's state does not allow this"),
  "import.not_found": row(404, "NOT_FOUND", "never", "No such import"),
  "import.conflict": row(409, "ABORTED", "never", "The import's state does not allow this"),
  "import.malformed": row(400, "INVALID_ARGUMENT", "never", "The import cannot be read"),
  "import.row_malformed": row(422, "INVALID_ARGUMENT", "never", "A row of the import cannot be read"),
  "operation.not_found": row(404, "NOT_FOUND", "never", "No such operation"),
  "connection.not_found": row(404, "NOT_FOUND", "never", "No such connection"),
  "connection.in_use": row(409, "FAILED_PRECONDITION", "never", "The connection is used by a pipeline"),
  "lookup.not_found": row(404, "NOT_FOUND", "never", "No such lookup table"),
  "tenant.not_found": row(404, "NOT_FOUND", "never", "No such tenant"),
  "tenant.exists": row(409, "ALREADY_EXISTS", "never", "The tenant exists already"),
  "client.not_found": row(404, "NOT_FOUND", "never", "No such client"),
  "lookup.invalid": row(422, "INVALID_ARGUMENT", "never", "The lookup table cannot be read"),
  "service.not_found": row(404, "NOT_FOUND", "never", "No such service"),
  "outputs.unavailable": row(409, "FAILED_PRECONDITION", "never", "The pipeline does not write to onedata.outputs"),
  "subscription.not_found": row(404, "NOT_FOUND", "never", "No such subscription"),
  "deadletter.not_found": row(404, "NOT_FOUND", "never", "No such dead letter"),
  // what happens to records: codes of dead letters
  "input.invalid": row(422, "INVALID_ARGUMENT", "never", "The event does not match the pipeline's input schema"),
  "expression.invalid": row(422, "INVALID_ARGUMENT", "never", "The expression cannot be compiled"),
  "expression.failed": row(422, "INVALID_ARGUMENT", "never", "The expression failed on this record"),
  "config.invalid": row(422, "INVALID_ARGUMENT", "never", "The operation's config has problems"),
  "record.invalid": row(422, "INVALID_ARGUMENT", "never", "The record breaks a rule of the pipeline"),
  "record.cast_failed": row(422, "INVALID_ARGUMENT", "never", "A value could not be cast"),
  "record.parse_failed": row(422, "INVALID_ARGUMENT", "never", "The text could not be parsed"),
  "record.not_an_object": row(422, "INVALID_ARGUMENT", "never", "The operation needs a JSON object"),
  "record.too_large": row(413, "INVALID_ARGUMENT", "never", "The record is larger than a call may carry"),
  "record.crashes": row(422, "INVALID_ARGUMENT", "never", "Services or engines died with this record, alone at last"),
  "lookup.missing": row(422, "INVALID_ARGUMENT", "never", "The lookup table has no such key"),
  "lookup.ambiguous": row(422, "INVALID_ARGUMENT", "never", "Several rows of the lookup table have this key"),
  "sink.unstorable": row(422, "INVALID_ARGUMENT", "never", "The sink cannot store this value"),
  "sink.rejected": row(422, "INVALID_ARGUMENT", "never", "The sink refused this record"),
  "sink.failed": row(422, "INVALID_ARGUMENT", "never", "The sink fails with this record and writes others"),
  // services behind the engine
  "service.unavailable": row(503, "UNAVAILABLE", "later", "A service cannot be reached"),
  "service.lost": row(503, "UNAVAILABLE", "later", "The connection to a service was lost while a call was in flight"),
  "service.failed": row(503, "UNAVAILABLE", "later", "A service failed"),
  "contract.breach": row(502, "INTERNAL", "later", "A service broke its contract"),
  "broker.unavailable": row(503, "UNAVAILABLE", "later", "The broker cannot be reached"),
  "broker.message_malformed": row(422, "INVALID_ARGUMENT", "never", "A broker message could not be read"),
  "connection.unavailable": row(503, "UNAVAILABLE", "later", "What a connection leads to cannot be used now"),
  "sink.unavailable": row(503, "UNAVAILABLE", "later", "A sink cannot be reached"),
  "network.address_refused": row(422, "INVALID_ARGUMENT", "never", "The address is private and not allowed"),
  // the installation
  "config.problems": row(500, "FAILED_PRECONDITION", "never", "The configuration has problems"),
  "backup.damaged": row(500, "FAILED_PRECONDITION", "never", "The backup is damaged or not whole"),
  "backup.failed": row(500, "FAILED_PRECONDITION", "later", "The backup or the restore could not be made"),
  "store.unavailable": row(503, "UNAVAILABLE", "later", "The database cannot be reached"),
  "store.busy": row(503, "UNAVAILABLE", "later", "The database is busy"),
  internal: row(500, "INTERNAL", "later", "An internal error"),
  aborted: row(499, "CANCELLED", "later", "The caller went away"),
} as const satisfies Record<string, CatalogueRow>;

export type ErrorCode = keyof typeof catalogue;

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(catalogue, code);
