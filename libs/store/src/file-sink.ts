/** A sink that writes files, as exporters know it. */
import type { JsonObject, PipelineId, TenantId } from "@onedata/core";

/** One folder that one sink writes to. A sink whose path changed between versions is two of them: each result goes where its own version says. */
export type FileSink = {
  readonly tenantId: TenantId;
  readonly tenant: string;
  readonly pipelineId: PipelineId;
  readonly pipeline: string;
  readonly sinkId: string;
  readonly path: string;
  /** `file.ndjson`. Kind and config are the active version's where it has the sink, else the newest's. */
  readonly kind: string;
  readonly config: JsonObject;
  /** Its pipeline is being deleted and nothing of it waits or runs: what is there is all there will be, and the pipeline goes when finished files hold it. */
  readonly isClosing: boolean;
};
