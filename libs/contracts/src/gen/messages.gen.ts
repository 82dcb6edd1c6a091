// Generated from the protos; do not edit.

export * as captureV1 from "./ts/onedata/capture/v1/capture.ts";
export { CaptureEventRequest, CaptureEventResponse, CaptureEventsRequest, CaptureEventsResponse, CaptureServiceDefinition, CapturedPayload } from "./ts/onedata/capture/v1/capture.ts";
export * as catalogV1 from "./ts/onedata/catalog/v1/catalog.ts";
export { CatalogEntry, CatalogServiceDefinition, GetOperationRequest, ListOperationsRequest, ListOperationsResponse } from "./ts/onedata/catalog/v1/catalog.ts";
export * as connectionV1 from "./ts/onedata/connection/v1/connection.ts";
export { ConnectionServiceDefinition, DeleteConnectionRequest, DeleteConnectionResponse, GetConnectionRequest, ListConnectionsRequest, ListConnectionsResponse, PutConnectionRequest, TestConnectionRequest, TestConnectionResponse } from "./ts/onedata/connection/v1/connection.ts";
export * as deadletterV1 from "./ts/onedata/deadletter/v1/deadletter.ts";
export { DeadLetter, DeadLetterGroup, DeadLetterServiceDefinition, GroupDeadLettersRequest, GroupDeadLettersResponse, ListDeadLettersRequest, ListDeadLettersResponse } from "./ts/onedata/deadletter/v1/deadletter.ts";
export * as errorV1 from "./ts/onedata/error/v1/error.ts";
export { Violation } from "./ts/onedata/error/v1/error.ts";
export * as eventV1 from "./ts/onedata/event/v1/event.ts";
export { Attempt, DeadLetterRef, Event, EventServiceDefinition, GetEventRequest, ListEventsRequest, ListEventsResponse, ListOutputsRequest, ListOutputsResponse, Output, StepTiming, TailEventsRequest } from "./ts/onedata/event/v1/event.ts";
export * as importsV1 from "./ts/onedata/imports/v1/imports.ts";
export { CancelImportRequest, GetImportRequest, Import, ImportServiceDefinition, ListImportsRequest, ListImportsResponse, ListRejectsRequest, Reject, ResumeFrom, UploadImportRequest } from "./ts/onedata/imports/v1/imports.ts";
export * as labV1 from "./ts/onedata/lab/v1/lab.ts";
export { LabServiceDefinition, PreviewOutput, PreviewPipelineRequest, PreviewPipelineResponse, PreviewRecord, PreviewStep, TestPipelineRequest, TestPipelineResponse } from "./ts/onedata/lab/v1/lab.ts";
export * as loadV1 from "./ts/onedata/load/v1/load.ts";
export { CheckConnectionRequest, CheckConnectionResponse, CheckSinkRequest, CheckSinkResponse, Duplicate, LoadServiceDefinition, SinkProblem, SourceEvent, WriteFailed, WriteGroup, WriteRecord, WriteRequest, WriteResponse, WriteResult, Written } from "./ts/onedata/load/v1/load.ts";
export * as lookupV1 from "./ts/onedata/lookup/v1/lookup.ts";
export { DeleteLookupRequest, DeleteLookupResponse, GetLookupRequest, ListLookupsRequest, ListLookupsResponse, Lookup, LookupServiceDefinition, PutLookupRequest } from "./ts/onedata/lookup/v1/lookup.ts";
export * as pipelineV1 from "./ts/onedata/pipeline/v1/pipeline.ts";
export { ActivateVersionRequest, ApplyPipelineRequest, ApplyPipelineResponse, Change, DeletePipelineRequest, DiscardBacklogRequest, DiscardBacklogResponse, GetPipelineRequest, GetStatsRequest, GetVersionRequest, InputSpec, ListPipelinesRequest, ListPipelinesResponse, ListVersionsRequest, ListVersionsResponse, PausePipelineRequest, Pipeline, PipelineServiceDefinition, PipelineSpec, ResumePipelineRequest, SinkSpec, Stats, StepSpec, TestResult, TestSpec, Version } from "./ts/onedata/pipeline/v1/pipeline.ts";
export * as tenantV1 from "./ts/onedata/tenant/v1/tenant.ts";
export { AuditEntry, CreateClientRequest, CreateClientResponse, CreateTenantRequest, GetTenantRequest, Limits, ListAuditRequest, ListAuditResponse, ListClientsRequest, ListClientsResponse, OAuthClient, RevokeClientRequest, RevokeClientResponse, SetLimitsRequest, SetVariablesRequest, Tenant, TenantServiceDefinition } from "./ts/onedata/tenant/v1/tenant.ts";
export * as transformV1 from "./ts/onedata/transform/v1/transform.ts";
export { ApplyGroup, ApplyRequest, ApplyResponse, ApplyStep, Failed, Filtered, Operation, OperationExample, Outputs, Record, Result, TransformServiceDefinition } from "./ts/onedata/transform/v1/transform.ts";
