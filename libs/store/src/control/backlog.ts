/**
 * What waits in a pipeline: figures, discarding it, and the removal of a deleted pipeline once nothing waits.
 * Invariant: an event leaves the queue only together with its verdict (`runs`) and its dead letter. Batches in a run are left to their run.
 */
import { createHash } from "node:crypto";
import { type PipelineId, type TenantId, toPipelineId, toTenantId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";
import { FILE_PLACES, unexportedOf } from "../retention/unexported.ts";
import { type Actor, recordChange } from "./audit.ts";
import { getPipeline } from "./pipelines.ts";

export type DiscardCode = "pipeline.discarded" | "pipeline.deleted";

export type PipelineFigures = {
  readonly waitingEvents: number;
  readonly runningEvents: number;
  readonly delivered: number;
  readonly filtered: number;
  readonly dead: number;
  readonly oldestWaitingAt: Date | undefined;
  /** Counted up to 100,000. */
  readonly openDeadLetters: number;
};

const BATCHES_PER_DISCARD = 200;
const DEAD = "02";

export async function readFigures(sql: Sql, tenantId: TenantId, name: string): Promise<PipelineFigures> {
  const { id } = await getPipeline(sql, tenantId, name);
  const [row] = await sql<
    { waiting: number; running: number; oldest: Date | null; delivered: number; filtered: number; dead: number; letters: number }[]
  >`
    with backlog as (
      select coalesce(sum(q.n) filter (where q.run_id is null), 0)::int as waiting, coalesce(sum(q.n) filter (where q.run_id is not null), 0)::int as running,
             onedata.time_of(min(q.batch_id) filter (where q.run_id is null)) as oldest
        from onedata.queue q join onedata.lanes l on l.id = q.lane_id where l.pipeline_id = ${id}
    ), past as (
      select coalesce(sum(delivered), 0)::int as delivered, coalesce(sum(filtered), 0)::int as filtered, coalesce(sum(dead), 0)::int as dead
        from onedata.pipeline_stats where pipeline_id = ${id} and minute > now() - interval '24 hours'
    ), letters as (
      select count(*)::int as letters from (
        select 1 from onedata.dead_letters where tenant_id = ${tenantId} and pipeline_id = ${id} and state = 'open' limit 100000) open
    ) select * from backlog, past, letters`;
  return {
    waitingEvents: row?.waiting ?? 0,
    runningEvents: row?.running ?? 0,
    delivered: row?.delivered ?? 0,
    filtered: row?.filtered ?? 0,
    dead: row?.dead ?? 0,
    oldestWaitingAt: row?.oldest ?? undefined,
    openDeadLetters: row?.letters ?? 0,
  };
}

export type DiscardOptions = { readonly name: string; readonly reason: string; readonly code: DiscardCode; readonly budgetMs: number };

/**
 * Turns everything that waits now into dead letters; what is captured meanwhile stays. Returns how many events waited.
 * It works for `budgetMs`; the rest, and what a crash leaves, is done by `continueDiscards`, for the job is stored first.
 */
export async function discardBacklog(sql: Sql, tenantId: TenantId, actor: Actor, { name, reason, code, budgetMs }: DiscardOptions): Promise<number> {
  const pipeline = await getPipeline(sql, tenantId, name);
  const message = `discarded by ${actor.name}${reason === "" ? "" : `: ${reason}`}`;
  const job = await sql.begin(async (tx) => {
    const [waiting] = await tx<{ events: number; last: string | null }[]>`
      select coalesce(sum(q.n), 0)::int as events, max(q.seq)::text as last from onedata.queue q join onedata.lanes l on l.id = q.lane_id
       where l.tenant_id = ${tenantId} and l.pipeline_id = ${pipeline.id} and q.run_id is null`;
    const spec = JSON.stringify({ code, message, upTo: waiting?.last ?? "0" });
    const [row] = await tx<{ id: bigint }[]>`
      insert into onedata.jobs (tenant_id, pipeline_id, kind, state, spec, version, total, created_by)
      values (${tenantId}, ${pipeline.id}, 'discard', 'running', ${spec}::text::jsonb, ${pipeline.activeVersion ?? null}, ${waiting?.events ?? 0}, ${actor.name}) returning id`;
    await recordChange(tx, tenantId, actor, {
      action: "DiscardBacklog",
      subject: `pipelines/${name}`,
      detail: { reason, events: waiting?.events ?? 0 },
    });
    return { id: row?.id ?? 0n, upTo: BigInt(waiting?.last ?? "0"), events: waiting?.events ?? 0 };
  });
  await workOff(sql, tenantId, { jobId: job.id, pipelineId: pipeline.id, version: pipeline.activeVersion, upTo: job.upTo, code, message }, budgetMs);
  return job.events;
}

/** For the sweep, over all tenants: goes on with discards that were not finished in time. */
export async function continueDiscards(sql: Sql, budgetMs: number): Promise<void> {
  const jobs = await sql<
    { id: bigint; tenant_id: bigint; pipeline_id: bigint; version: number | null; up_to: string; code: DiscardCode; message: string }[]
  >`
    select id, tenant_id, pipeline_id, version, spec->>'upTo' as up_to, spec->>'code' as code, spec->>'message' as message
      from onedata.jobs where kind = 'discard' and state = 'running' and created_at < now() - interval '30 seconds' order by id limit 10`;
  for (const job of jobs) {
    const discard = {
      jobId: job.id,
      pipelineId: toPipelineId(job.pipeline_id),
      version: job.version ?? undefined,
      upTo: BigInt(job.up_to),
      code: job.code,
      message: job.message,
    };
    await workOff(sql, toTenantId(job.tenant_id), discard, budgetMs);
  }
}

/** Several may work at one job: each takes other batches. */
async function workOff(sql: Sql, tenantId: TenantId, discard: Discard & { jobId: bigint }, budgetMs: number): Promise<void> {
  const endMs = performance.now() + budgetMs;
  do {
    const done = await sql.begin((tx) => discardSome(tx, tenantId, discard));
    if (done.batches === 0) {
      await sql`update onedata.jobs set state = 'done', finished_at = now(), updated_at = now() where id = ${discard.jobId} and tenant_id = ${tenantId}`;
      return;
    }
  } while (performance.now() < endMs);
}

type Discard = { pipelineId: PipelineId; version: number | undefined; upTo: bigint; code: DiscardCode; message: string };

async function discardSome(
  tx: Transaction,
  tenantId: TenantId,
  { pipelineId, version, upTo, code, message }: Discard,
): Promise<{ batches: number; events: number }> {
  const fingerprint = createHash("sha256").update(`${code}\n${pipelineId}`).digest("hex").slice(0, 16);
  const [row] = await tx<{ batches: number; events: number }[]>`
    with taken as (
      -- An array, not IN: the planner may run a subquery with a limit more than once.
      delete from onedata.queue where batch_id = any(array(
        select q.batch_id from onedata.queue q join onedata.lanes l on l.id = q.lane_id
         where l.tenant_id = ${tenantId} and l.pipeline_id = ${pipelineId} and q.run_id is null and q.seq <= ${upTo}
         order by q.batch_id limit ${BATCHES_PER_DISCARD} for update of q skip locked))
      returning batch_id, attempt, generation, version, import_id, job_id, kind
    ), item as (
      -- Ordinals that an earlier attempt finished keep their verdict.
      select t.*, e.n, e.payload, e.trace from taken t
        join lateral (
          select n, payload, trace from onedata.events where batch_id = t.batch_id and t.kind = 'capture'
          union all
          select r.n, coalesce(o.payload, s.payload), s.trace from onedata.batch_refs r join onedata.events s on s.batch_id = r.src_batch_id and s.n = r.src_n
            left join onedata.events o on o.batch_id = r.batch_id and o.n = r.n where r.batch_id = t.batch_id
        ) e on not exists (
          select 1 from onedata.runs u where u.batch_id = t.batch_id and u.verdicts is not null and length(u.verdicts) > e.n and get_byte(u.verdicts, e.n) <> 0)
    ), letters as (
      insert into onedata.dead_letters (tenant_id, pipeline_id, batch_id, n, generation, version, code, fingerprint, message, payload, trace_id, job_id, import_id)
      select ${tenantId}, ${pipelineId}, batch_id, n, generation, coalesce(version, ${version ?? null}), ${code}, ${fingerprint}, ${message}, payload, substr(trace, 1, 16), job_id, import_id from item
    ), verdicts as (
      insert into onedata.runs (batch_id, attempt, run_id, version, woken_by, started_at, outcome, verdicts)
      select t.batch_id, t.attempt + 1, gen_random_uuid(), coalesce(t.version, ${version ?? null}), 'discard', clock_timestamp(), 'discarded',
             (select decode(string_agg(case when i.n is null then '00' else ${DEAD} end, '' order by o.n), 'hex')
                from generate_series(0, (select max(n) from item where batch_id = t.batch_id)) o(n) left join item i on i.batch_id = t.batch_id and i.n = o.n)
        from taken t
    ), owners as (
      select owner_id, count(*) as dead from (
        select import_id as owner_id from item where import_id is not null union all select job_id from item where job_id is not null) o group by owner_id
    ), tallied as (
      insert into onedata.tallies as y (owner_id, stripe, dead) select owner_id, 0, dead from owners
      on conflict (owner_id, stripe) do update set dead = y.dead + excluded.dead
    ), counted as (
      insert into onedata.pipeline_stats as y (pipeline_id, minute, dead) select ${pipelineId}, date_trunc('minute', now()), count(*) from item having count(*) > 0
      on conflict (pipeline_id, minute, stripe) do update set dead = y.dead + excluded.dead
    ) select (select count(*)::int from taken) as batches, (select count(*)::int from item) as events`;
  return row ?? { batches: 0, events: 0 };
}

export type DeletingPipeline = { readonly tenantId: bigint; readonly name: string; readonly discard: boolean };

/** For the sweep, over all tenants: what is being deleted, and whether a discard of its backlog is asked for and not under way. */
export async function listDeleting(sql: Sql): Promise<DeletingPipeline[]> {
  const rows = await sql<{ tenant_id: bigint; name: string; discard: boolean }[]>`
    select p.tenant_id, p.name,
           coalesce(p.reason = 'discard', false)
             and exists (select from onedata.queue q join onedata.lanes l on l.id = q.lane_id where l.pipeline_id = p.id and q.run_id is null)
             and not exists (select from onedata.jobs j where j.tenant_id = p.tenant_id and j.pipeline_id = p.id and j.kind = 'discard' and j.state = 'running') as discard
      from onedata.pipelines p where p.state = 'deleting' order by p.id limit 1000`;
  return rows.map((row) => ({ tenantId: row.tenant_id, name: row.name, discard: row.discard }));
}

/**
 * Takes a deleted pipeline away when nothing waits or runs any more. Its events and dead letters stay until retention.
 * Results of file sinks are results only when a finished file holds them: until then it stays, else nobody would know of them.
 * A capture that had read "running" just before the deletion may still commit: so nothing is removed for `graceSeconds`, nor while a transaction that
 * started before the grace ended is still writing.
 */
export async function removeDrained(sql: Sql, tenantId: TenantId, { name, graceSeconds }: { name: string; graceSeconds: number }): Promise<boolean> {
  return sql.begin(async (tx) => {
    const [row] = await tx<{ id: bigint }[]>`
      select p.id from onedata.pipelines p
       where p.tenant_id = ${tenantId} and p.name = ${name} and p.state = 'deleting' and p.state_changed_at <= now() - make_interval(secs => ${graceSeconds})
         and not exists (select from onedata.queue q join onedata.lanes l on l.id = q.lane_id where l.pipeline_id = p.id)
         and not exists (select from pg_stat_activity a where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_xid is not null
                            and a.xact_start < p.state_changed_at + make_interval(secs => ${graceSeconds}))
       for update`;
    if (row === undefined) return false;
    const waiting = await tx.unsafe(
      `with ${FILE_PLACES} select 1 from ${unexportedOf("onedata.outputs", "onedata.runs")} where f.pipeline_id = $1::bigint limit 1`,
      [String(row.id)],
    );
    if (waiting.length > 0) return false;
    await tx`delete from onedata.lane_runs where lane_id in (select id from onedata.lanes where pipeline_id = ${row.id})`;
    await tx`delete from onedata.lanes where tenant_id = ${tenantId} and pipeline_id = ${row.id}`;
    await tx`delete from onedata.idempotency_keys where tenant_id = ${tenantId} and pipeline_id = ${row.id}`;
    await tx`delete from onedata.pipeline_stats where pipeline_id = ${row.id}`;
    await tx`delete from onedata.pipelines where tenant_id = ${tenantId} and id = ${row.id}`;
    await recordChange(tx, tenantId, { name: "control" }, { action: "RemovePipeline", subject: `pipelines/${name}` });
    return true;
  });
}
