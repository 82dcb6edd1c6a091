/**
 * Jobs as people read them, and their cancellation. Starting them is `replay.ts` and `backfill.ts`, working them off `job-list.ts` and `job-batches.ts`.
 *
 * Invariants: a job works on the list that was frozen when it started; what became of its events is counted by the completions themselves (`tallies`);
 * it has ended when `finished_at` is set, which comes after its last dead letter was told.
 */
import { formatId, OneDataError, type TenantId, toTenantId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";
import { type Actor, recordChange } from "./audit.ts";
import { getPipeline } from "./pipelines.ts";

export type JobKind = "replay" | "backfill" | "discard";
export type JobState = "preparing" | "running" | "done" | "failed" | "cancelled";

export type JobRow = {
  readonly id: bigint;
  readonly pipeline: string;
  readonly kind: JobKind;
  readonly state: JobState;
  readonly reason: string | undefined;
  readonly description: string;
  /** 0 = the active one. */
  readonly version: number;
  readonly generation: number;
  readonly total: number;
  readonly queued: number;
  readonly delivered: number;
  readonly filtered: number;
  readonly dead: number;
  readonly skipped: number;
  /** 0 = no limit. */
  readonly eventsPerSecond: number;
  readonly createdBy: string;
  readonly createdAt: Date;
  /** Also of a cancelled job: when its last run had ended. */
  readonly finishedAt: Date | undefined;
  /** Who paused its pipeline, when and why; undefined unless it is paused. */
  readonly paused: { readonly by: string | undefined; readonly at: Date; readonly reason: string | undefined } | undefined;
  /** What keeps its lanes from running, and when it is tried again. */
  readonly blocked: { readonly reason: string; readonly until: Date } | undefined;
};

/** What the start of every job has in common. */
export type NewJob = {
  readonly pipelineId: bigint;
  readonly kind: "replay" | "backfill" | "discard_letters";
  readonly state: "preparing" | "running";
  readonly description: string;
  /** Kept as JSON; the runner reads its filter from it. */
  readonly spec: Readonly<Record<string, unknown>>;
  readonly version: number;
  readonly generation: number;
  readonly eventsPerSecond: number;
  readonly listedTo?: bigint;
  readonly listUntil?: bigint;
  readonly matching?: number;
  readonly total?: number;
  readonly hasItems?: boolean;
};

const notFound = (): OneDataError => new OneDataError("job.not_found", "no job with this id");

export async function insertJob(tx: Transaction, tenantId: TenantId, actor: Actor, job: NewJob): Promise<bigint> {
  const [row] = await tx<{ id: bigint }[]>`
    insert into onedata.jobs (tenant_id, pipeline_id, kind, state, spec, version, generation, description, events_per_second, listed_to, list_until, matching, total,
      has_items, created_by)
    values (${tenantId}, ${job.pipelineId}, ${job.kind}, ${job.state}, ${JSON.stringify(job.spec)}::text::jsonb, ${job.version === 0 ? null : job.version}, ${job.generation},
      ${job.description}, ${job.eventsPerSecond}, ${job.listedTo ?? 0n}, ${job.listUntil ?? 0n}, ${job.matching ?? 0}, ${job.total ?? 0}, ${job.hasItems ?? false}, ${actor.name})
    returning id`;
  if (row === undefined) throw new OneDataError("internal", "insert of a job returned no row");
  return row.id;
}

/** The delivery that a backfill or a replay of delivered events makes: sinks write it beside, or over, the ones before. */
export async function nextGeneration(tx: Transaction, tenantId: TenantId, pipelineId: bigint): Promise<number> {
  const [row] = await tx<{ generation: number }[]>`
    update onedata.pipelines set generation = generation + 1 where tenant_id = ${tenantId} and id = ${pipelineId} returning generation`;
  return row?.generation ?? 0;
}

export async function getJob(sql: Sql | Transaction, tenantId: TenantId, id: bigint): Promise<JobRow> {
  const [row] = await selectJobs(sql, tenantId, { id });
  if (row === undefined) throw notFound();
  return row;
}

export type JobPage = { readonly pipeline: string; readonly state: string; readonly limit: number; readonly before: bigint | undefined };

/** Newest first; an empty `pipeline` is all of the tenant. */
export async function listJobs(sql: Sql, tenantId: TenantId, page: JobPage): Promise<JobRow[]> {
  const pipelineId = page.pipeline === "" ? undefined : (await getPipeline(sql, tenantId, page.pipeline)).id;
  return selectJobs(sql, tenantId, { pipelineId, state: page.state, limit: page.limit, before: page.before });
}

/**
 * No further batch is made from now on, and those that wait leave the queue; the runner gives their dead letters back. What runs ends, and counts.
 * Cancelling twice is fine; a job that has ended cannot be cancelled.
 */
export async function cancelJob(sql: Sql, tenantId: TenantId, actor: Actor, id: bigint): Promise<JobRow> {
  return sql.begin(async (tx) => {
    const [row] = await tx<{ state: JobState; kind: string }[]>`
      select state, kind from onedata.jobs where tenant_id = ${tenantId} and id = ${id} for update`;
    if (row === undefined) throw notFound();
    if (row.kind === "discard") throw new OneDataError("job.conflict", "the discard of a backlog cannot be cancelled");
    if (row.state === "done" || row.state === "failed") throw new OneDataError("job.conflict", `the job is ${row.state} already`);
    if (row.state !== "cancelled") {
      await tx`update onedata.jobs set state = 'cancelled', reason = ${`cancelled by ${actor.name}`}, updated_at = now() where tenant_id = ${tenantId} and id = ${id}`;
      await removeWaiting(tx, tenantId, id);
      await recordChange(tx, tenantId, actor, { action: "CancelJob", subject: `jobs/${formatId("job", id)}` });
    }
    return getJob(tx, tenantId, id);
  });
}

/** Takes the job's unclaimed batches out of the queue; a claim that holds a row at this moment keeps it. Returns how many went. */
export async function removeWaiting(tx: Transaction, tenantId: TenantId, id: bigint): Promise<number> {
  const result = await tx`
    delete from onedata.queue where batch_id = any(array(
      select q.batch_id from onedata.queue q join onedata.lanes l on l.id = q.lane_id
       where q.job_id = ${id} and l.tenant_id = ${tenantId} and q.run_id is null order by q.batch_id for update of q skip locked))`;
  return result.count;
}

export type OpenJob = { readonly id: bigint; readonly tenantId: TenantId; readonly kind: NewJob["kind"]; readonly state: JobState };

/** For the runner, over all tenants: jobs that have not ended, oldest first. */
export async function listOpenJobs(sql: Sql): Promise<OpenJob[]> {
  const rows = await sql<{ id: bigint; tenant_id: bigint; kind: OpenJob["kind"]; state: JobState }[]>`
    select id, tenant_id, kind, state from onedata.jobs where finished_at is null and kind in ('replay', 'backfill', 'discard_letters') and not onedata.old_rows_are_moving() order by id limit 1000`;
  return rows.map(({ id, tenant_id, kind, state }) => ({ id, tenantId: toTenantId(tenant_id), kind, state }));
}

const ITEMS_PER_PURGE = 20_000;

/** For the runner, over all tenants: lists of jobs that have ended are of no more use; `batch_refs` says what became of each event. Returns how many rows went. */
export async function purgeEndedJobs(sql: Sql): Promise<number> {
  const [job] = await sql<{ id: bigint }[]>`select id from onedata.jobs where finished_at is not null and has_items order by id limit 1`;
  if (job === undefined) return 0;
  const items = await sql`
    delete from onedata.job_items where job_id = ${job.id} and position = any(array(
      select position from onedata.job_items where job_id = ${job.id} order by position limit ${ITEMS_PER_PURGE}))`;
  if (items.count > 0) return items.count;
  await sql.begin(async (tx) => {
    await tx`delete from onedata.job_batches where job_id = ${job.id}`;
    await tx`update onedata.jobs set has_items = false where id = ${job.id}`;
  });
  return 1;
}

async function selectJobs(
  sql: Sql | Transaction,
  tenantId: TenantId,
  which: { id: bigint } | { pipelineId: bigint | undefined; state: string; limit: number; before: bigint | undefined },
): Promise<JobRow[]> {
  const condition =
    "id" in which
      ? sql`j.id = ${which.id}`
      : sql`j.id < ${which.before ?? 9223372036854775807n} ${which.pipelineId === undefined ? sql`` : sql`and j.pipeline_id = ${which.pipelineId}`}
          ${which.state === "" ? sql`` : sql`and j.state = ${which.state}`}`;
  const rows = await sql<JobRecord[]>`
    select j.id, j.kind, j.state, j.reason, j.description, j.version, j.generation, j.total, j.queued, j.skipped, j.events_per_second, j.created_by, j.created_at, j.finished_at,
           j.claimed, j.matching, coalesce(p.name, '') as pipeline, p.state as pipeline_state, p.reason as pipeline_reason, p.state_changed_by, p.state_changed_at,
           coalesce(t.delivered, 0)::bigint as delivered, coalesce(t.filtered, 0)::bigint as filtered, coalesce(t.dead, 0)::bigint as dead,
           l.block_reason, l.blocked_until
      from onedata.jobs j
      left join onedata.pipelines p on p.id = j.pipeline_id
      left join lateral (select sum(delivered) as delivered, sum(filtered) as filtered, sum(dead) as dead from onedata.tallies where owner_id = j.id) t on true
      left join lateral (
        select block_reason, blocked_until from onedata.lanes where pipeline_id = j.pipeline_id and class = 'bulk' and j.finished_at is null and blocked_until > clock_timestamp()
         order by blocked_until desc limit 1) l on true
     where j.tenant_id = ${tenantId} and ${condition} order by j.id desc limit ${"limit" in which ? which.limit : 1}`;
  return rows.map(toJob);
}

function toJob(row: JobRecord): JobRow {
  // The discard of a backlog makes no batches: what it has done is not counted in the queue.
  const isBacklog = row.kind === "discard";
  return {
    id: row.id,
    pipeline: row.pipeline,
    kind: row.kind === "discard_letters" || row.kind === "discard" ? "discard" : row.kind === "backfill" ? "backfill" : "replay",
    state: row.state,
    reason: row.reason ?? undefined,
    description: isBacklog && row.description === "" ? "discard the backlog" : row.description,
    version: isBacklog ? 0 : (row.version ?? 0),
    generation: row.generation,
    total: Number(row.total),
    queued: isBacklog && row.state === "done" ? Number(row.total) : Number(row.queued),
    delivered: Number(row.delivered),
    filtered: Number(row.filtered),
    dead: Number(row.dead),
    skipped: Number(row.skipped),
    eventsPerSecond: row.events_per_second,
    createdBy: row.created_by ?? "",
    createdAt: row.created_at,
    finishedAt: row.finished_at ?? undefined,
    paused:
      row.pipeline_state === "paused" && row.state_changed_at !== null
        ? { by: row.state_changed_by ?? undefined, at: row.state_changed_at, reason: row.pipeline_reason ?? undefined }
        : undefined,
    blocked: row.blocked_until === null ? undefined : { reason: row.block_reason ?? "a service cannot do its work", until: row.blocked_until },
  };
}

type JobRecord = {
  id: bigint;
  kind: string;
  state: JobState;
  reason: string | null;
  description: string;
  version: number | null;
  generation: number;
  total: bigint;
  queued: bigint;
  skipped: bigint;
  claimed: bigint;
  matching: bigint;
  events_per_second: number;
  created_by: string | null;
  created_at: Date;
  finished_at: Date | null;
  pipeline: string;
  pipeline_state: string | null;
  pipeline_reason: string | null;
  state_changed_by: string | null;
  state_changed_at: Date | null;
  delivered: bigint;
  filtered: bigint;
  dead: bigint;
  block_reason: string | null;
  blocked_until: Date | null;
};
