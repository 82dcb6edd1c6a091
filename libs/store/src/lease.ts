/**
 * Leases of engines and deadlines of runs. One row per engine incarnation is renewed, never one per run.
 *
 * Invariants: the database's clock decides; a lease counts from the later of its last renewal and the moment since which the server answers, so neither a
 * restart nor a recovery from a crash of the database expires anybody (ADR 35); each run has its own deadline besides, so a hung run in a living engine is taken back too.
 */
import type { BatchId } from "@onedata/core";
import type { Store } from "./connection.ts";
import { endLaneRuns, takeOverLanes } from "./lane-runs.ts";
import { HAS_BEGUN, halfOf } from "./release.ts";
import { SCHEMA_RELEASE } from "./schema-release.ts";

/** Makes the engine known before its first claim, and ordered lanes fit for it. */
export async function registerEngine(
  store: Store,
  engine: { readonly incarnation: string; readonly slots: number; readonly leaseMs: number; readonly name?: string },
): Promise<void> {
  await store.lease`
    insert into onedata.engines (incarnation, alive_until, slots, name, schema_release)
    values (${engine.incarnation}, clock_timestamp() + make_interval(secs => ${engine.leaseMs}::float8 / 1000), ${engine.slots}, ${engine.name ?? ""}, ${SCHEMA_RELEASE})
    on conflict (incarnation) do update set alive_until = excluded.alive_until, renewed_at = clock_timestamp()`;
  await takeOverLanes(store);
}

/** Returns the incarnations of all living engines, the oldest first; `undefined` when this one has expired: it must stop writing and start anew. */
export async function renewLease(
  store: Store,
  { incarnation, leaseMs }: { readonly incarnation: string; readonly leaseMs: number },
): Promise<readonly string[] | undefined> {
  const rows = await store.lease<{ incarnation: string }[]>`
    with renewed as (
      update onedata.engines set alive_until = clock_timestamp() + make_interval(secs => ${leaseMs}::float8 / 1000), renewed_at = clock_timestamp()
       where incarnation = ${incarnation} and greatest(alive_until, onedata.server_ready_at() + (alive_until - renewed_at)) > clock_timestamp() returning incarnation
    )
    select incarnation from onedata.engines
     where alive_until > clock_timestamp() or incarnation in (select incarnation from renewed) order by started_at, incarnation`;
  return rows.some((row) => row.incarnation === incarnation) ? rows.map((row) => row.incarnation) : undefined;
}

/** A clean goodbye: the runs were completed or released before. */
export async function removeEngine(store: Store, incarnation: string): Promise<void> {
  await store.lease`delete from onedata.engines where incarnation = ${incarnation}`;
}

/** Moves the deadline of a long run. Cheap runs end before they need it: call it when half of the time is gone. Returns how many batches the run still holds. */
export async function touchRun(store: Store, runId: string, deadlineMs: number): Promise<number> {
  const rows: readonly { held: number }[] = await store.lease.unsafe(
    "with touched as (update onedata.queue set run_deadline = clock_timestamp() + make_interval(secs => $2::float8 / 1000) where run_id = $1::uuid returning 1) select count(*)::int as held from touched",
    [runId, String(deadlineMs)],
    { prepare: true },
  );
  return rows[0]?.held ?? 0;
}

export type Reclaimed = {
  readonly batchId: BatchId;
  readonly owner: string;
  readonly runId: string;
  readonly failures: number;
  readonly suspect: boolean;
};

/**
 * Takes back what dead engines and overdue runs hold. It counts as a crash: a run's halves go apart, the second crash makes the batch a suspect. The version is freed, unless a
 * partial completion shows that sinks have begun; what a crashed write did is known to the ledger, per ordinal, whatever version comes next.
 */
const RECLAIM = `
with seen as (
  insert into onedata.server_ready (one) select true where not exists (select from onedata.server_ready) on conflict do nothing
), server as materialized (
  select onedata.server_ready_at() as ready_at
), overdue as materialized (
  select q.batch_id, q.lane_id, q.run_id, q.owner, q.seq
    from onedata.queue q cross join server left join onedata.engines e on e.incarnation = q.owner
   where q.run_id is not null
     and (greatest(e.alive_until, server.ready_at + coalesce(e.alive_until - e.renewed_at, interval '10 seconds')) < clock_timestamp()
       or greatest(q.run_deadline, server.ready_at + interval '10 seconds') < clock_timestamp())
   order by q.batch_id for update of q skip locked
), parted as materialized (
  select *, row_number() over (partition by run_id order by seq) as place, count(*) over (partition by run_id) as size from overdue
), taken as (
  update onedata.queue q
     set run_id = null, owner = null, run_deadline = null, state = 'ready', available_at = null, version = case when ${HAS_BEGUN} then q.version end,
         failures = q.failures + 1, suspect = q.suspect or q.failures + 1 >= 2, part = ${halfOf("o.place", "o.size")}
    from parted o where q.batch_id = o.batch_id
  returning q.batch_id, q.lane_id, o.run_id, o.owner, q.failures, q.suspect
), ended as (
  ${endLaneRuns({ lanes: "(select distinct lane_id from overdue) u", run: "in (select run_id from overdue)", leaves: "q.batch_id in (select batch_id from overdue)" })}
), freed as (
  -- Runs of engines of release 1.
  update onedata.lanes l set run_id = null
   where l.ordered and l.id in (select lane_id from overdue) and l.run_id in (select run_id from overdue)
     and not exists (select from onedata.queue q where q.run_id = l.run_id and q.lane_id = l.id and q.batch_id not in (select batch_id from overdue))
)
select batch_id, run_id, owner, failures, suspect from taken`;

export async function reclaim(store: Store): Promise<readonly Reclaimed[]> {
  const rows: readonly { batch_id: BatchId; run_id: string; owner: string; failures: number; suspect: boolean }[] = await store.lease.unsafe(
    RECLAIM,
    [],
    { prepare: true },
  );
  return rows.map((row) => ({ batchId: row.batch_id, owner: row.owner, runId: row.run_id, failures: row.failures, suspect: row.suspect }));
}
