/**
 * Gives batches of a run back without a verdict: a service is down, a run was parted, an engine drains.
 *
 * Invariants: behind the same fence as a completion; a release frees the version, so that activating another one frees what a bad version holds, unless a
 * write for that batch has begun; ordered lanes are freed with their last batch; what crashed together is parted in two halves.
 */
import type { BatchId, LaneId } from "@onedata/core";
import type { Store } from "./connection.ts";
import { endLaneRuns } from "./lane-runs.ts";

export type Release = {
  readonly runId: string;
  /** Absent: all that the run still holds. */
  readonly batchIds?: readonly BatchId[];
  readonly delayMs?: number;
  /** The run crashed with these in flight: `failures` is raised, and the second time makes a suspect. Service faults never count. */
  readonly crashed?: boolean;
  /** An external write has begun: these stay with their version. */
  readonly keepVersion?: readonly BatchId[];
};

/** An earlier attempt has finished a sink of some event. */
export const HAS_BEGUN = `coalesce(jsonb_path_exists(q.progress, '$[*].sinksDone[*]'), false)`;

/** 1 or 2; 0 for what crashed alone. */
export const halfOf = (place: string, size: string): string => `case when ${size} < 2 then 0 when 2 * ${place} <= ${size} then 1 else 2 end`;

const RELEASE = `
with held as materialized (
  select batch_id, row_number() over (order by seq) as place, count(*) over () as size from onedata.queue
   where run_id = $1::uuid and ($2::bigint[] is null or batch_id = any($2::bigint[]))
), released as (
  update onedata.queue q
     set run_id = null, owner = null, run_deadline = null, state = 'ready',
         version = case when q.batch_id = any($5::bigint[]) or ${HAS_BEGUN} then q.version end,
         available_at = case when $3::float8 > 0 then clock_timestamp() + make_interval(secs => $3::float8 / 1000) end,
         failures = q.failures + $4::int, suspect = q.suspect or ($4::int > 0 and q.failures + $4::int >= 2),
         part = case when $4::int = 0 then q.part else ${halfOf("h.place", "h.size")} end
    from held h where q.batch_id = h.batch_id and q.run_id = $1::uuid
  returning q.batch_id, q.lane_id
), freed as (
  ${endLaneRuns({ lanes: "(select distinct lane_id from released) u", run: "= $1::uuid", leaves: "q.batch_id in (select batch_id from released)" })}
)
select count(*)::int as released from released`;

/** Returns how many batches were given back; 0 = the run had lost them. */
export async function releaseRun(store: Store, { runId, batchIds, delayMs = 0, crashed = false, keepVersion = [] }: Release): Promise<number> {
  const parameters = [
    runId,
    batchIds === undefined ? null : `{${batchIds.join(",")}}`,
    String(delayMs),
    crashed ? "1" : "0",
    `{${keepVersion.join(",")}}`,
  ];
  const rows: readonly { released: number }[] = await store.lease.unsafe(RELEASE, parameters, { prepare: true });
  return rows[0]?.released ?? 0;
}

export type LaneChoice = { readonly route: string } | { readonly laneIds: readonly LaneId[] };

export type Backoff = { readonly firstMs: number; readonly mostMs: number };

/**
 * Keeps lanes out of claims: `firstMs`, doubled with every failure in a row up to `mostMs`, times `jitter`. `reason` is what `waitingFor` says.
 * Lanes that are blocked already stay as they are: several runs of one outage are one failure.
 * Returns the failures in a row of the lanes that it blocked, the highest of them; 0 when all were blocked already.
 */
export async function blockLanes(
  store: Store,
  lanes: LaneChoice,
  { backoff, jitter, reason }: { readonly backoff: Backoff; readonly jitter: number; readonly reason: string },
): Promise<number> {
  const [row] = await store.lease<{ failures: number }[]>`
    with blocked as (
      update onedata.lanes
         set blocked_until = clock_timestamp() + make_interval(secs => least(${backoff.mostMs}::float8, ${backoff.firstMs}::float8 * 2 ^ least(block_failures, 20)) * ${jitter}::float8 / 1000),
             block_reason = ${reason}, block_failures = block_failures + 1,
             block_since = case when block_failures = 0 then clock_timestamp() else coalesce(block_since, clock_timestamp()) end
       where ${whichLanes(store, lanes)} and (blocked_until is null or blocked_until <= clock_timestamp()) returning block_failures
    ) select coalesce(max(block_failures), 0)::int as failures from blocked`;
  return row?.failures ?? 0;
}

/** The service works again. */
export async function unblockLanes(store: Store, lanes: LaneChoice): Promise<void> {
  await store.lease`update onedata.lanes set blocked_until = null, block_reason = null, block_failures = 0, block_since = null where (blocked_until is not null or block_failures > 0) and ${whichLanes(store, lanes)}`;
}

const whichLanes = (store: Store, lanes: LaneChoice) =>
  "route" in lanes ? store.lease`route = ${lanes.route}` : store.lease`id = any(${`{${lanes.laneIds.join(",")}}`}::bigint[])`;
