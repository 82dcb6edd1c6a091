/** Plans of pipeline versions, for those who run them. Versions are immutable: whoever reads one may keep it. */
import type { PipelineId } from "@onedata/core";
import type { Store } from "./connection.ts";

/** `planJson`: as it was written, digit for digit; whoever runs it reads it with a parser that keeps exact numbers. */
export type PlannedVersion = { readonly pipelineId: PipelineId; readonly version: number; readonly pipeline: string; readonly planJson: string };

/** One query for all. A version whose pipeline was removed is absent. */
export async function loadPlans(
  store: Store,
  versions: readonly { readonly pipelineId: PipelineId; readonly version: number }[],
): Promise<readonly PlannedVersion[]> {
  const rows = await store.sql<{ pipeline_id: PipelineId; version: number; name: string; plan: string }[]>`
    select v.pipeline_id, v.version, p.name, v.plan::text as plan
      from unnest(${`{${versions.map((v) => v.pipelineId).join(",")}}`}::bigint[], ${`{${versions.map((v) => v.version).join(",")}}`}::int[]) w(pipeline_id, version)
      join onedata.pipeline_versions v using (pipeline_id, version) join onedata.pipelines p on p.id = v.pipeline_id`;
  return rows.map((row) => ({ pipelineId: row.pipeline_id, version: row.version, pipeline: row.name, planJson: row.plan }));
}
