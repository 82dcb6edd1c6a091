/** Versions of pipelines: immutable; the same spec with the same plan is the same version. Non-duty: making and activating them. */
import { OneDataError, type TenantId } from "@onedata/core";
import type { Sql } from "../connection.ts";
import { getPipeline, type PipelineRow } from "./pipelines.ts";

export type VersionRow = {
  readonly version: number;
  readonly hash: string;
  readonly active: boolean;
  readonly createdAt: Date;
  readonly createdBy: string | undefined;
};

/** Newest first; `before` is the last number of the previous page. */
export async function listVersions(
  sql: Sql,
  tenantId: TenantId,
  page: { name: string; limit: number; before: number | undefined },
): Promise<VersionRow[]> {
  const pipeline = await getPipeline(sql, tenantId, page.name);
  const rows = await sql<{ version: number; hash: string; created_at: Date; created_by: string | null }[]>`
    select version, hash, created_at, created_by from onedata.pipeline_versions
     where pipeline_id = ${pipeline.id} and version < ${page.before ?? 2147483647} order by version desc limit ${page.limit}`;
  return rows.map((row) => toVersion(row, pipeline));
}

/** `version` 0 or absent is the active one. */
export async function getVersion(
  sql: Sql,
  tenantId: TenantId,
  name: string,
  version?: number,
): Promise<VersionRow & { readonly spec: string; readonly plan: string }> {
  const pipeline = await getPipeline(sql, tenantId, name);
  const number = version === undefined || version === 0 ? pipeline.activeVersion : version;
  const [row] = await sql<{ version: number; hash: string; created_at: Date; created_by: string | null; spec: string; plan: string }[]>`
    select version, hash, created_at, created_by, spec, plan::text as plan from onedata.pipeline_versions
     where pipeline_id = ${pipeline.id} and version = ${number ?? 0}`;
  if (row === undefined)
    throw new OneDataError(
      "version.not_found",
      `pipeline ${JSON.stringify(name)} has no ${number === undefined ? "active version" : `version ${number}`}`,
    );
  return { ...toVersion(row, pipeline), spec: row.spec, plan: row.plan };
}

/** The plan that new runs use, as JSON; `undefined` when there is no such pipeline, or no active version of it. */
export async function findActivePlan(sql: Sql, tenantId: TenantId, name: string): Promise<string | undefined> {
  const [row] = await sql<{ plan: string }[]>`
    select v.plan::text as plan from onedata.pipelines p join onedata.pipeline_versions v on v.pipeline_id = p.id and v.version = p.active_version
     where p.tenant_id = ${tenantId} and p.name = ${name}`;
  return row?.plan;
}

const toVersion = (row: { version: number; hash: string; created_at: Date; created_by: string | null }, pipeline: PipelineRow): VersionRow => ({
  version: row.version,
  hash: row.hash,
  active: row.version === pipeline.activeVersion,
  createdAt: row.created_at,
  createdBy: row.created_by ?? undefined,
});
