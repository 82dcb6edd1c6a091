/**
 * Pipelines and their versions.
 *
 * Invariants:
 * 1. A version is immutable; the same spec with the same plan is the same version.
 * 2. Every change locks the pipeline's row first: of two applies at once, one sees what the other wrote.
 * 3. Activation moves the lanes' route in the same transaction and lifts their blocks: the old version's dead service holds nobody back.
 * 4. The ordering belongs to the pipeline. It changes only with an apply that activates, and only while nothing waits.
 */
import { OneDataError, type PipelineId, type TenantId, toPipelineId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";
import { type Actor, recordChange } from "./audit.ts";

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

export type VersionRow = {
  readonly version: number;
  readonly hash: string;
  readonly active: boolean;
  readonly createdAt: Date;
  readonly createdBy: string | undefined;
};

export type NewVersion = {
  readonly name: string;
  readonly hash: string;
  /** The spec as JSON. */
  readonly spec: string;
  /** The plan as JSON. */
  readonly plan: string;
  readonly route: string;
  readonly ordering: string | undefined;
  readonly activate: boolean;
  /** Empty = any. */
  readonly ifMatch: string;
  /** Whether a stored plan, as JSON, says the same as this one. */
  readonly isSamePlan: (stored: string) => boolean;
  /** Does everything and rolls it back: the answer is what would come of it. */
  readonly dryRun: boolean;
};

export type Applied = {
  readonly pipeline: PipelineRow;
  readonly version: number;
  readonly created: boolean;
  /** Spec of the version that was active before, as JSON. */
  readonly previousSpec: string | undefined;
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

/** Stores a version unless it is there, and activates it when asked. */
export async function applyVersion(sql: Sql, tenantId: TenantId, actor: Actor, next: NewVersion): Promise<Applied> {
  let rehearsed: Applied | undefined;
  try {
    return await sql.begin(async (tx) => {
      const applied = await applyInTransaction(tx, tenantId, actor, next);
      if (!next.dryRun) return applied;
      rehearsed = applied;
      throw new Error("a dry run is rolled back");
    });
  } catch (error) {
    if (rehearsed !== undefined) return rehearsed;
    throw error;
  }
}

async function applyInTransaction(tx: Transaction, tenantId: TenantId, actor: Actor, next: NewVersion): Promise<Applied> {
  const isNew = await createIfMissing(tx, tenantId, next);
  const before = await lockPipeline(tx, tenantId, next.name);
  if (before.state === "deleting") {
    throw new OneDataError(
      "pipeline.conflict",
      `pipeline ${JSON.stringify(next.name)} is being deleted; apply it again when its backlog has drained, or under another name`,
    );
  }
  if (next.ifMatch !== "" && (isNew || next.ifMatch !== before.etag)) {
    throw new OneDataError(
      "request.precondition_failed",
      `pipeline ${JSON.stringify(next.name)} has changed: its etag is ${isNew ? "none, it does not exist" : before.etag}, not ${next.ifMatch}; read it again`,
    );
  }
  const [previous] = await tx<
    { spec: string }[]
  >`select spec from onedata.pipeline_versions where pipeline_id = ${before.id} and version = ${before.activeVersion ?? 0}`;
  const previousSpec = previous?.spec;
  const found = await findVersion(tx, before.id, next);
  // A gateway that has not seen the other ordering yet is refused by the number of the version, so that must change with it.
  const known = next.activate && found === before.activeVersion && before.ordering !== next.ordering ? undefined : found;
  const version = known ?? (await insertVersion(tx, before.id, actor, next));
  const activates = next.activate && (before.activeVersion !== version || before.ordering !== next.ordering);
  if (activates) {
    if (before.ordering !== next.ordering) await changeOrdering(tx, before, next.ordering);
    await activate(tx, before.id, version);
  } else if (known === undefined) {
    await tx`update onedata.pipelines set name = name where id = ${before.id}`;
  }
  if (isNew && !activates) await tx`select onedata.make_lanes(${before.id})`;
  if (known === undefined || activates) {
    await recordChange(tx, tenantId, actor, {
      action: "ApplyPipeline",
      subject: `pipelines/${next.name}`,
      detail: { version, created: known === undefined, activated: activates, previous: before.activeVersion ?? null },
    });
  }
  return { pipeline: await getPipeline(tx, tenantId, next.name), version, created: known === undefined, previousSpec };
}

export async function activateVersion(
  sql: Sql,
  tenantId: TenantId,
  actor: Actor,
  { name, version }: { name: string; version: number },
): Promise<PipelineRow> {
  return sql.begin(async (tx) => {
    const before = await lockPipeline(tx, tenantId, name);
    if (before.state === "deleting") throw new OneDataError("pipeline.conflict", `pipeline ${JSON.stringify(name)} is being deleted`);
    const [known] = await tx`select 1 from onedata.pipeline_versions where pipeline_id = ${before.id} and version = ${version}`;
    if (known === undefined) throw new OneDataError("version.not_found", `pipeline ${JSON.stringify(name)} has no version ${version}`);
    if (before.activeVersion === version) return before;
    await activate(tx, before.id, version);
    await recordChange(tx, tenantId, actor, {
      action: "ActivateVersion",
      subject: `pipelines/${name}`,
      detail: { version, previous: before.activeVersion ?? null },
    });
    return getPipeline(tx, tenantId, name);
  });
}

/** Pauses or resumes. Asking for the state it has changes nothing: who paused first stays on record. */
export async function setPipelineState(
  sql: Sql,
  tenantId: TenantId,
  actor: Actor,
  { name, state, reason }: { name: string; state: "running" | "paused"; reason: string },
): Promise<PipelineRow> {
  return sql.begin(async (tx) => {
    const before = await lockPipeline(tx, tenantId, name);
    if (before.state === "deleting")
      throw new OneDataError("pipeline.conflict", `pipeline ${JSON.stringify(name)} is being deleted; it can neither be paused nor resumed`);
    if (before.state === state) return before;
    await tx`
      update onedata.pipelines set state = ${state}, reason = ${reason === "" ? null : reason}, state_changed_by = ${actor.name}, state_changed_at = now()
       where tenant_id = ${tenantId} and id = ${before.id}`;
    await recordChange(tx, tenantId, actor, {
      action: state === "paused" ? "PausePipeline" : "ResumePipeline",
      subject: `pipelines/${name}`,
      detail: { reason },
    });
    return getPipeline(tx, tenantId, name);
  });
}

/** Refuses new events from now on; `removeDrained` takes the rest away once nothing waits. A paused pipeline drains too. */
export async function markDeleting(
  sql: Sql,
  tenantId: TenantId,
  actor: Actor,
  { name, discard }: { name: string; discard: boolean },
): Promise<PipelineRow> {
  return sql.begin(async (tx) => {
    const before = await lockPipeline(tx, tenantId, name);
    if (before.state === "deleting" && !discard) return before;
    await tx`
      update onedata.pipelines set state = 'deleting', reason = ${discard ? "discard" : null}, state_changed_by = ${actor.name},
             state_changed_at = case when state = 'deleting' then state_changed_at else now() end
       where tenant_id = ${tenantId} and id = ${before.id}`;
    await recordChange(tx, tenantId, actor, { action: "DeletePipeline", subject: `pipelines/${name}`, detail: { discard } });
    return getPipeline(tx, tenantId, name);
  });
}

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

const toVersion = (row: { version: number; hash: string; created_at: Date; created_by: string | null }, pipeline: PipelineRow): VersionRow => ({
  version: row.version,
  hash: row.hash,
  active: row.version === pipeline.activeVersion,
  createdAt: row.created_at,
  createdBy: row.created_by ?? undefined,
});

async function createIfMissing(tx: Transaction, tenantId: TenantId, next: NewVersion): Promise<boolean> {
  const [made] = await tx`
    insert into onedata.pipelines (tenant_id, name, ordering) values (${tenantId}, ${next.name}, ${next.ordering ?? null})
    on conflict (tenant_id, name) do nothing returning id`;
  if (made === undefined) return false;
  const [quota] = await tx<{ allowed: number; used: number }[]>`
    select coalesce((limits->>'pipelines')::int, 0) as allowed, (select count(*)::int from onedata.pipelines where tenant_id = ${tenantId}) as used
      from onedata.tenants where id = ${tenantId} for share`;
  if (quota !== undefined && quota.allowed > 0 && quota.used > quota.allowed) {
    throw new OneDataError(
      "capture.quota_exceeded",
      `the tenant may have ${quota.allowed} pipelines; delete one, or ask an operator to raise the limit`,
    );
  }
  return true;
}

async function lockPipeline(tx: Transaction, tenantId: TenantId, name: string): Promise<PipelineRow> {
  const [row] = await tx<{ id: bigint }[]>`select id from onedata.pipelines where tenant_id = ${tenantId} and name = ${name} for no key update`;
  if (row === undefined) throw notFound(name);
  return getPipeline(tx, tenantId, name);
}

async function findVersion(tx: Transaction, pipelineId: PipelineId, next: NewVersion): Promise<number | undefined> {
  const rows = await tx<{ version: number; plan: string }[]>`
    select version, plan::text as plan from onedata.pipeline_versions where pipeline_id = ${pipelineId} and hash = ${next.hash} order by version desc limit 5`;
  return rows.find((row) => next.isSamePlan(row.plan))?.version;
}

async function insertVersion(tx: Transaction, pipelineId: PipelineId, actor: Actor, next: NewVersion): Promise<number> {
  const [row] = await tx<{ version: number }[]>`
    insert into onedata.pipeline_versions (pipeline_id, version, hash, spec, plan, route, created_by)
    select ${pipelineId}, coalesce(max(version), 0) + 1, ${next.hash}, ${next.spec}, ${next.plan}::text::json, ${next.route}, ${actor.name}
      from onedata.pipeline_versions where pipeline_id = ${pipelineId}
    returning version`;
  if (row === undefined) throw new OneDataError("internal", "insert of a version returned no row");
  return row.version;
}

async function changeOrdering(tx: Transaction, pipeline: PipelineRow, ordering: string | undefined): Promise<void> {
  const [waiting] = await tx`select 1 from onedata.queue q join onedata.lanes l on l.id = q.lane_id where l.pipeline_id = ${pipeline.id} limit 1`;
  if (waiting !== undefined) {
    throw new OneDataError(
      "pipeline.conflict",
      `input.ordering of ${JSON.stringify(pipeline.name)} can change only while nothing waits; let the backlog drain, or discard it with :discard, and apply again`,
      {
        violations: [
          {
            pointer: "/input/ordering",
            code: "spec.ordering_change",
            detail: `is ${JSON.stringify(pipeline.ordering ?? null)} now; changing it needs an empty backlog`,
          },
        ],
      },
    );
  }
  await tx`update onedata.pipelines set ordering = ${ordering ?? null} where id = ${pipeline.id}`;
}

async function activate(tx: Transaction, pipelineId: PipelineId, version: number): Promise<void> {
  await tx`update onedata.pipelines set active_version = ${version} where id = ${pipelineId}`;
  await tx`select onedata.make_lanes(${pipelineId})`;
  // Also the shards that an ordering of the past left behind: an event that was on its way when it changed is still run.
  await tx`
    update onedata.lanes l set route = v.route, ordered = p.ordering is not null, blocked_until = null, block_reason = null, block_failures = 0
      from onedata.pipelines p join onedata.pipeline_versions v on v.pipeline_id = p.id and v.version = p.active_version
     where p.id = ${pipelineId} and l.pipeline_id = p.id`;
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
