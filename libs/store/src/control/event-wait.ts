/**
 * Why events are not done: the rows that their batches wait by, read together at one moment of the database's clock.
 * Non-duty: the sentence (`waiting-for.ts` of control). Invariant: work per batch is bounded; what stands before it is counted to `MAX_AHEAD`.
 */
import type { TenantId } from "@onedata/core";
import type { Progress } from "../claim.ts";
import type { Sql } from "../connection.ts";
import { IS_IN_RUN, WITH_LANE_RUN } from "../lane-runs.ts";
import { toArray } from "./sql-array.ts";

export const MAX_AHEAD = 10_000;

export type EventWait = {
  /** The database's clock. */
  readonly now: Date;
  readonly kind: "capture" | "replay" | "backfill" | "shadow";
  readonly running: boolean;
  /** While it runs: until when at the latest, and the engine's last sign of life if it gives none any more. */
  readonly runDeadline: Date | undefined;
  readonly ownerLostAt: Date | undefined;
  readonly availableAt: Date | undefined;
  readonly attempt: number;
  /** Crashes with its batch in flight. */
  readonly failures: number;
  readonly suspect: boolean;
  readonly progress: Progress;
  readonly pipelineState: string;
  readonly pipelineReason: string | undefined;
  readonly pipelineStateChangedBy: string | undefined;
  readonly pipelineStateChangedAt: Date | undefined;
  /** `reason` names the service; `until` may have passed: then the next run tries it. */
  readonly blocked:
    | { readonly reason: string; readonly since: Date | undefined; readonly until: Date | undefined; readonly failures: number }
    | undefined;
  readonly import: { readonly id: bigint; readonly stopped: { readonly at: Date; readonly reason: string } | undefined } | undefined;
  readonly job: { readonly id: bigint; readonly state: string; readonly reason: string | undefined } | undefined;
  /** On an ordered lane what stands before it: in a run, or the first that waits. */
  readonly orderedBehind: { readonly running: boolean; readonly availableAt: Date | undefined; readonly suspect: boolean } | undefined;
  /** Batches of its lane that come before it, and those of them that are of its own import. */
  readonly batchesAhead: number;
  readonly importBatchesAhead: number;
  readonly enginesAlive: number;
  /** Of engines that are gone; undefined when none was ever seen, or all said goodbye. */
  readonly lastEngineAt: Date | undefined;
};

/** Of those batches that are in the queue. */
export async function readWaits(
  sql: Sql,
  tenantId: TenantId,
  batchIds: readonly bigint[],
  maxAhead = MAX_AHEAD,
): Promise<ReadonlyMap<bigint, EventWait>> {
  if (batchIds.length === 0) return new Map();
  const rows = await sql<WaitRecord[]>`
    with engine as materialized (
      select incarnation, alive_until, greatest(alive_until, onedata.server_ready_at() + (alive_until - renewed_at)) > clock_timestamp() as alive from onedata.engines
    )
    select q.batch_id, clock_timestamp() as now, q.kind, q.run_id is not null as running, q.run_deadline, q.available_at, q.attempt, q.failures, q.suspect,
           q.progress::text as progress, p.state, p.reason, p.state_changed_by, p.state_changed_at,
           l.blocked_until, l.block_reason, l.block_since, l.block_failures, l.ordered, ${sql.unsafe(IS_IN_RUN)} and q.run_id is null as lane_runs,
           q.import_id, i.stopped_at, i.stop_reason, q.job_id, j.state as job_state, j.reason as job_reason,
           case when q.run_id is not null and o.alive is not true then coalesce(o.alive_until, q.run_deadline) end as owner_lost_at,
           head.available_at as head_available_at, coalesce(head.suspect, false) as head_suspect, head.batch_id is not null as has_head,
           ahead.batches as ahead, ahead.own as own_ahead,
           (select count(*)::int from engine where alive) as engines, (select max(alive_until) from engine) as last_engine_at
      from onedata.queue q
      join onedata.lanes l on l.id = q.lane_id ${sql.unsafe(WITH_LANE_RUN)}
      left join onedata.pipelines p on p.id = l.pipeline_id
      left join onedata.imports i on i.id = q.import_id
      left join onedata.jobs j on j.id = q.job_id
      left join engine o on o.incarnation = q.owner
      left join lateral (
        select a.batch_id, a.available_at, a.suspect from onedata.queue a
         where l.ordered and a.lane_id = q.lane_id and a.run_id is null and a.seq < q.seq order by a.seq limit 1) head on true
      cross join lateral (
        select count(*)::int as batches, count(*) filter (where c.import_id = q.import_id)::int as own from (
          select a.import_id from onedata.queue a where a.lane_id = q.lane_id and a.seq < q.seq and a.run_id is null limit ${maxAhead}) c) ahead
     where q.batch_id = any(${toArray(batchIds)}::bigint[]) and l.tenant_id = ${tenantId}`;
  return new Map(rows.map((row) => [row.batch_id, toWait(row)]));
}

function toWait(row: WaitRecord): EventWait {
  const progress: unknown = row.progress === null ? [] : JSON.parse(row.progress);
  return {
    now: row.now,
    kind: row.kind,
    running: row.running,
    runDeadline: row.run_deadline ?? undefined,
    ownerLostAt: row.owner_lost_at ?? undefined,
    availableAt: row.available_at ?? undefined,
    attempt: row.attempt,
    failures: row.failures,
    suspect: row.suspect,
    progress: isProgress(progress) ? progress : [],
    pipelineState: row.state ?? "deleting",
    pipelineReason: row.reason ?? undefined,
    pipelineStateChangedBy: row.state_changed_by ?? undefined,
    pipelineStateChangedAt: row.state_changed_at ?? undefined,
    blocked:
      row.block_failures === 0
        ? undefined
        : {
            reason: row.block_reason ?? "a service cannot do its work",
            since: row.block_since ?? undefined,
            until: row.blocked_until ?? undefined,
            failures: row.block_failures,
          },
    import:
      row.import_id === null
        ? undefined
        : { id: row.import_id, stopped: row.stopped_at === null ? undefined : { at: row.stopped_at, reason: row.stop_reason ?? "" } },
    job: row.job_id === null ? undefined : { id: row.job_id, state: row.job_state ?? "gone", reason: row.job_reason ?? undefined },
    orderedBehind:
      row.ordered && (row.lane_runs || row.has_head)
        ? { running: row.lane_runs, availableAt: row.head_available_at ?? undefined, suspect: row.head_suspect }
        : undefined,
    batchesAhead: row.ahead,
    importBatchesAhead: row.own_ahead,
    enginesAlive: row.engines,
    lastEngineAt: row.last_engine_at ?? undefined,
  };
}

const isProgress = (value: unknown): value is Progress => Array.isArray(value);

type WaitRecord = {
  batch_id: bigint;
  now: Date;
  kind: EventWait["kind"];
  running: boolean;
  run_deadline: Date | null;
  available_at: Date | null;
  attempt: number;
  failures: number;
  suspect: boolean;
  progress: string | null;
  state: string | null;
  reason: string | null;
  state_changed_by: string | null;
  state_changed_at: Date | null;
  blocked_until: Date | null;
  block_reason: string | null;
  block_since: Date | null;
  block_failures: number;
  ordered: boolean;
  lane_runs: boolean;
  import_id: bigint | null;
  stopped_at: Date | null;
  stop_reason: string | null;
  job_id: bigint | null;
  job_state: string | null;
  job_reason: string | null;
  owner_lost_at: Date | null;
  head_available_at: Date | null;
  head_suspect: boolean;
  has_head: boolean;
  ahead: number;
  own_ahead: number;
  engines: number;
  last_engine_at: Date | null;
};
