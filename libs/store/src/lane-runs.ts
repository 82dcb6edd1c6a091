/**
 * Which run each ordered lane is in.
 *
 * Duty: the pieces of SQL that look it up and end it; taking lanes over from engines of release 1 and giving them back; repair.
 * Non-duty: beginning it (`claim-sql.ts`, `taken_lanes`).
 *
 * Invariants:
 * 1. The row of a lane in `lane_runs` is found by (lane, era), from the end: of the dead versions, which an application's old snapshot may keep by the ten thousand, only
 *    those of the last sixteen claims are met. A statement of the hot path has no other way to it: `WITH_LANE_RUN`, then `isRowOf`.
 * 2. `run_id` and the queue rows of that run change in one commit: who sees the lane free sees all that the run gave back.
 * 3. `claims` is raised by every claim. Who has locked the row with the `claims` of its snapshot knows that nobody claimed since, and by 2 that its queue rows are those
 *    of its snapshot, but for captures.
 * 4. `lanes.run_id` = APART says that all this holds. Without it an ordered lane belongs to engines of release 1, which know `lanes` alone; each side passes a lane to
 *    the other under the lock of its row, and only while it is in no run.
 */
import type { Sql, Store } from "./connection.ts";

export const APART = "ffffffff-ffff-ffff-ffff-ffffffffffff";

/** Joins the state of an ordered lane `l` as `r`; all of it null for others, which have none. */
export const WITH_LANE_RUN =
  "left join lateral (select r.claims, r.run_id, r.low_seq from onedata.lane_runs r where l.ordered and r.lane_id = l.id order by r.era desc limit 1) r on true";

/** Of `l` with `WITH_LANE_RUN`: a claim of this release may take it. */
export const IS_IN_NO_RUN = `(not l.ordered or (l.run_id = '${APART}'::uuid and r.run_id is null))`;

/** The same for people: also for lanes that engines of release 1 hold; one that is nobody's yet is in no run. */
export const IS_IN_RUN = `(l.ordered and (r.run_id is not null or coalesce(l.run_id <> '${APART}'::uuid, false)))`;

/**
 * `r` is the row of a lane with these `claims`. Not `r.lane_id = x.lane_id`: that can be merged, which is reason enough for the planner to walk over the whole index
 * once where it takes the table for small.
 */
export const isRowOf = (x: string): string => `r.lane_id = any(array[${x}.lane_id]) and r.era = ${x}.claims >> 4 and r.claims = ${x}.claims`;

/**
 * Ends the runs of lanes that hold nothing of it any more.
 * `lanes`: a FROM item `u` with `lane_id`; `run`: what `r.run_id` must be; `leaves`: which rows `q` of the queue leave the run in the same statement.
 */
export const endLaneRuns = ({ lanes, run, leaves }: { readonly lanes: string; readonly run: string; readonly leaves: string }): string => `
  update onedata.lane_runs r set run_id = null
    from (select u.lane_id, n.claims from ${lanes} cross join lateral (
            select n.claims from onedata.lane_runs n where n.lane_id = u.lane_id order by n.era desc limit 1) n offset 0) x
   where ${isRowOf("x")} and r.run_id ${run}
     and (r.run_id, r.lane_id) not in (select q.run_id, q.lane_id from onedata.queue q where q.run_id ${run} and not ${leaves})`;

/** Also lanes that have no row yet: those of before this release. */
const TAKE_OVER = `
with free as materialized (
  select l.id from onedata.lanes l where l.ordered and l.run_id is null order by l.id for no key update of l skip locked
), made as (
  insert into onedata.lane_runs (lane_id) select f.id from free f where not exists (select from onedata.lane_runs r where r.lane_id = f.id)
), taken as (
  update onedata.lanes l set run_id = '${APART}'::uuid from free f where l.id = f.id returning 1
)
select count(*)::int as taken from taken`;

/** Takes ordered lanes that are in no run over from engines of release 1. Returns how many. */
export async function takeOverLanes(store: Store): Promise<number> {
  const rows: readonly { taken: number }[] = await store.lease.unsafe(TAKE_OVER, [], { prepare: true });
  return rows[0]?.taken ?? 0;
}

/** After the engines, not the rest, went back to release 1: gives them the lanes that are in no run (the trigger keeps the others). Returns how many rows it looked at. */
export async function giveLanesBack(sql: Sql): Promise<number> {
  const result = await sql`
    update onedata.lanes set run_id = null
     where run_id = ${APART} and exists (select from onedata.engines where schema_release is null and alive_until > clock_timestamp())
       and not exists (select from onedata.engines where schema_release is not null and alive_until > clock_timestamp())`;
  return result.count;
}

/**
 * An ordered lane is in a run only while a batch of it is. Two statements that each finish a part of one lane at the same moment would both leave it; the rule of
 * `completeRun` forbids that, and this repairs what a bug, a hand in the database or an engine of release 1 left, which took a dead engine's batches back and knows
 * `lanes` alone. The lane is locked first, so that the second statement sees every claim and completion before it.
 */
export async function freeStrandedLanes(sql: Sql): Promise<number> {
  const suspects = await sql<{ lane_id: bigint; claims: bigint; run_id: string }[]>`
    select r.lane_id, r.claims, r.run_id from onedata.lane_runs r
     where r.run_id is not null and not exists (select from onedata.queue q where q.run_id = r.run_id and q.lane_id = r.lane_id)`;
  let freed = 0;
  for (const { lane_id, claims, run_id } of suspects) {
    freed += await sql.begin(async (transaction) => {
      const mine = transaction`lane_id = ${lane_id} and claims = ${claims} and run_id = ${run_id}`;
      const locked = await transaction`select 1 from onedata.lane_runs where ${mine} for no key update skip locked`;
      if (locked.length === 0) return 0;
      const result = await transaction`
        update onedata.lane_runs set run_id = null where ${mine} and not exists (select from onedata.queue q where q.run_id = ${run_id} and q.lane_id = ${lane_id})`;
      return result.count;
    });
  }
  return freed + (await freeStrandedLanesOfRelease1(sql));
}

async function freeStrandedLanesOfRelease1(sql: Sql): Promise<number> {
  const suspects = await sql<{ id: bigint; run_id: string }[]>`
    select l.id, l.run_id from onedata.lanes l
     where l.run_id <> ${APART} and not exists (select from onedata.queue q where q.run_id = l.run_id and q.lane_id = l.id)`;
  let freed = 0;
  for (const { id, run_id } of suspects) {
    freed += await sql.begin(async (transaction) => {
      const locked = await transaction`select 1 from onedata.lanes where id = ${id} and run_id = ${run_id} for no key update skip locked`;
      if (locked.length === 0) return 0;
      const result = await transaction`
        update onedata.lanes set run_id = null where id = ${id} and not exists (select from onedata.queue q where q.run_id = ${run_id} and q.lane_id = ${id})`;
      return result.count;
    });
  }
  return freed;
}
