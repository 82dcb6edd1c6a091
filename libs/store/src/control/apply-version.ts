/**
 * Makes versions of pipelines and activates them.
 *
 * Invariants:
 * 1. A version is immutable; the same spec with the same plan is the same version.
 * 2. Every change locks the pipeline's row first: of two applies at once, one sees what the other wrote.
 * 3. Activation moves the lanes' route in the same transaction and lifts their blocks: the old version's dead service holds nobody back.
 * 4. The ordering belongs to the pipeline. It changes only with an apply that activates, and only while nothing waits.
 */
import { OneDataError, type PipelineId, type TenantId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";
import { type Actor, recordChange } from "./audit.ts";
import { getPipeline, lockPipeline, type PipelineRow } from "./pipelines.ts";

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

async function createIfMissing(tx: Transaction, tenantId: TenantId, next: NewVersion): Promise<boolean> {
  const [made] = await tx`
    insert into onedata.pipelines (tenant_id, name, ordering) values (${tenantId}, ${next.name}, ${next.ordering ?? null})
    on conflict (tenant_id, name) do nothing returning id`;
  if (made === undefined) return false;
  const [quota] = await tx<{ allowed: number; used: number; state: string }[]>`
    select state, coalesce((limits->>'pipelines')::int, 0) as allowed, (select count(*)::int from onedata.pipelines where tenant_id = ${tenantId}) as used
      from onedata.tenants where id = ${tenantId} for share`;
  // Behind the lock: an erasure knows every pipeline there was when it was asked for.
  if (quota?.state === "erasing") throw new OneDataError("tenant.not_found", "the tenant is being erased");
  if (quota !== undefined && quota.allowed > 0 && quota.used > quota.allowed) {
    throw new OneDataError(
      "capture.quota_exceeded",
      `the tenant may have ${quota.allowed} pipelines; delete one, or ask an operator to raise the limit`,
    );
  }
  return true;
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
