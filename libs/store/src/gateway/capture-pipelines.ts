/** What the gateway must know of a pipeline to check and place an event. */
import { type PipelineId, type TenantId, toPipelineId } from "@onedata/core";
import type { Sql } from "../connection.ts";

export type CapturePipelineRecord = {
  readonly pipelineId: PipelineId;
  readonly name: string;
  readonly state: string;
  readonly activeVersion: number | undefined;
  readonly ordering: string | undefined;
  /** JSON text of the active version's `input.schema`. */
  readonly inputSchema: string | undefined;
  /** Index of the sink `onedata.outputs` in the plan. */
  readonly outputsSink: number | undefined;
};

export async function findCapturePipeline(sql: Sql, tenantId: TenantId, name: string): Promise<CapturePipelineRecord | undefined> {
  const [row] = await sql<
    {
      id: bigint;
      name: string;
      state: string;
      active_version: number | null;
      ordering: string | null;
      schema: string | null;
      outputs: number | null;
    }[]
  >`
    select p.id, p.name, p.state, p.active_version, p.ordering, (v.plan->'inputSchema')::text as schema,
           (select (s.o - 1)::int from json_array_elements(v.plan->'sinks') with ordinality s(sink, o) where s.sink->>'kind' = 'onedata.outputs' order by s.o limit 1) as outputs
      from onedata.pipelines p left join onedata.pipeline_versions v on v.pipeline_id = p.id and v.version = p.active_version
     where p.tenant_id = ${tenantId} and p.name = ${name}`;
  if (row === undefined) return undefined;
  return {
    pipelineId: toPipelineId(row.id),
    name: row.name,
    state: row.state,
    activeVersion: row.active_version ?? undefined,
    ordering: row.ordering ?? undefined,
    inputSchema: row.schema ?? undefined,
    outputsSink: row.outputs ?? undefined,
  };
}

/** One text per pipeline that changes when the gateway must look again. Pipelines that are gone are missing. */
export async function readPipelineStamps(sql: Sql, ids: readonly PipelineId[]): Promise<ReadonlyMap<bigint, string>> {
  const rows = await sql<{ id: bigint; stamp: string }[]>`
    select id, concat_ws('/', name, state, active_version, ordering) as stamp from onedata.pipelines where id = any(${`{${ids.join(",")}}`}::bigint[])`;
  return new Map(rows.map((row) => [row.id, row.stamp]));
}

export const stampOf = (pipeline: CapturePipelineRecord): string =>
  [pipeline.name, pipeline.state, pipeline.activeVersion, pipeline.ordering].filter((part) => part !== undefined).join("/");
