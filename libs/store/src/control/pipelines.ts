/** Pipelines as they stand, and the lock that every change of one takes first. */
import { OneDataError, type PipelineId, type TenantId, toPipelineId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";

export type PipelineState = "running" | "paused" | "deleting";

export type PipelineRow = {
  readonly id: PipelineId;
  readonly name: string;
  readonly state: PipelineState;
  readonly reason: string | undefined;
  readonly stateChangedBy: string | undefined;
  readonly stateChangedAt: Date;
  readonly activeVersion: number | undefined;
  readonly ordering: string | undefined;
  /** Another one after every change of the row. */
  readonly etag: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly description: string | undefined;
  /** Kinds of the active version's sinks. */
  readonly sinks: readonly string[];
};

const notFound = (name: string): OneDataError =>
  new OneDataError("pipeline.not_found", `no pipeline ${JSON.stringify(name)}; GET /v1/pipelines lists what there is`);

export async function getPipeline(sql: Sql | Transaction, tenantId: TenantId, name: string): Promise<PipelineRow> {
  const [row] = await selectPipelines(sql, tenantId, { name });
  if (row === undefined) throw notFound(name);
  return row;
}

/** By name; `after` is the last name of the previous page. */
export const listPipelines = (sql: Sql, tenantId: TenantId, page: { limit: number; after: string }): Promise<PipelineRow[]> =>
  selectPipelines(sql, tenantId, page);

/** Of two changes at once, the second waits here and sees what the first wrote. */
export async function lockPipeline(tx: Transaction, tenantId: TenantId, name: string): Promise<PipelineRow> {
  const [row] = await tx<{ id: bigint }[]>`select id from onedata.pipelines where tenant_id = ${tenantId} and name = ${name} for no key update`;
  if (row === undefined) throw notFound(name);
  return getPipeline(tx, tenantId, name);
}

/** Names of the pipelines whose active version names this connection, in a step or a sink. */
export async function pipelinesUsingConnection(sql: Sql | Transaction, tenantId: TenantId, connection: string): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select p.name from onedata.pipelines p join onedata.pipeline_versions v on v.pipeline_id = p.id and v.version = p.active_version
     where p.tenant_id = ${tenantId} and (
       exists (select from json_array_elements(coalesce(v.plan::json->'sinks', '[]')) s where s->>'connection' = ${connection})
       or exists (select from json_array_elements(coalesce(v.plan::json->'stages', '[]')) g, json_array_elements(g->'steps') s where s->>'connection' = ${connection}))
     order by p.name limit 20`;
  return rows.map((row) => row.name);
}

async function selectPipelines(
  sql: Sql | Transaction,
  tenantId: TenantId,
  which: { name: string } | { limit: number; after: string },
): Promise<PipelineRow[]> {
  const condition = "name" in which ? sql`p.name = ${which.name}` : sql`p.name > ${which.after}`;
  const rows = await sql<PipelineRecord[]>`
    select p.id, p.name, p.state, p.reason, p.state_changed_by, p.state_changed_at, p.active_version, p.ordering, p.created_at,
           left(md5(p.id || ' ' || p.xmin::text || ' ' || coalesce(p.active_version, 0)), 16) as etag,
           greatest(p.state_changed_at, (select max(created_at) from onedata.pipeline_versions where pipeline_id = p.id)) as updated_at,
           v.spec::json->>'description' as description,
           (select array_agg(s->>'kind') from json_array_elements(v.plan::json->'sinks') s) as sinks
      from onedata.pipelines p left join onedata.pipeline_versions v on v.pipeline_id = p.id and v.version = p.active_version
     where p.tenant_id = ${tenantId} and ${condition} order by p.name limit ${"limit" in which ? which.limit : 1}`;
  return rows.map((row) => ({
    id: toPipelineId(row.id),
    name: row.name,
    state: row.state,
    reason: row.reason ?? undefined,
    stateChangedBy: row.state_changed_by ?? undefined,
    stateChangedAt: row.state_changed_at,
    activeVersion: row.active_version ?? undefined,
    ordering: row.ordering ?? undefined,
    etag: row.etag,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    description: row.description ?? undefined,
    sinks: row.sinks ?? [],
  }));
}

type PipelineRecord = {
  id: bigint;
  name: string;
  state: PipelineState;
  reason: string | null;
  state_changed_by: string | null;
  state_changed_at: Date;
  active_version: number | null;
  ordering: string | null;
  created_at: Date;
  etag: string;
  updated_at: Date;
  description: string | null;
  sinks: string[] | null;
};
