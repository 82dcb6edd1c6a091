// Generated from the protos; do not edit.

import * as captureV1 from "./ts/onedata/capture/v1/capture.ts";
import * as catalogV1 from "./ts/onedata/catalog/v1/catalog.ts";
import * as connectionV1 from "./ts/onedata/connection/v1/connection.ts";
import * as deadletterV1 from "./ts/onedata/deadletter/v1/deadletter.ts";
import * as eventV1 from "./ts/onedata/event/v1/event.ts";
import * as importsV1 from "./ts/onedata/imports/v1/imports.ts";
import * as jobV1 from "./ts/onedata/job/v1/job.ts";
import * as labV1 from "./ts/onedata/lab/v1/lab.ts";
import * as loadV1 from "./ts/onedata/load/v1/load.ts";
import * as lookupV1 from "./ts/onedata/lookup/v1/lookup.ts";
import * as pipelineV1 from "./ts/onedata/pipeline/v1/pipeline.ts";
import * as subscriptionV1 from "./ts/onedata/subscription/v1/subscription.ts";
import * as systemV1 from "./ts/onedata/system/v1/system.ts";
import * as tenantV1 from "./ts/onedata/tenant/v1/tenant.ts";
import * as transformV1 from "./ts/onedata/transform/v1/transform.ts";

/** Definition by full service name. */
export const definitions = {
  "onedata.capture.v1.CaptureService": captureV1.CaptureServiceDefinition,
  "onedata.catalog.v1.CatalogService": catalogV1.CatalogServiceDefinition,
  "onedata.connection.v1.ConnectionService": connectionV1.ConnectionServiceDefinition,
  "onedata.deadletter.v1.DeadLetterService": deadletterV1.DeadLetterServiceDefinition,
  "onedata.event.v1.EventService": eventV1.EventServiceDefinition,
  "onedata.imports.v1.ImportService": importsV1.ImportServiceDefinition,
  "onedata.job.v1.JobService": jobV1.JobServiceDefinition,
  "onedata.lab.v1.LabService": labV1.LabServiceDefinition,
  "onedata.load.v1.LoadService": loadV1.LoadServiceDefinition,
  "onedata.lookup.v1.LookupService": lookupV1.LookupServiceDefinition,
  "onedata.pipeline.v1.PipelineService": pipelineV1.PipelineServiceDefinition,
  "onedata.subscription.v1.SubscriptionService": subscriptionV1.SubscriptionServiceDefinition,
  "onedata.system.v1.SystemService": systemV1.SystemServiceDefinition,
  "onedata.tenant.v1.TenantService": tenantV1.TenantServiceDefinition,
  "onedata.transform.v1.TransformService": transformV1.TransformServiceDefinition,
} as const;
