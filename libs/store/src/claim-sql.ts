/**
 * The claim: one statement that gives a run its batches.
 *
 * Rules kept (each was measured or closes a hole):
 * 1. A loose scan finds the lanes with waiting batches; it starts where the last claim stopped and looks at no more than $9 lanes, so 10,000 waiting
 *    lanes cost no more than 200.
 * 2. Within one route, batches are taken by (events before it in its lane + its own) / weight: water-filling. Equal shares, the rest to whoever has more.
 *    By `bef` alone every lane's first batch is free and full bulk batches fill every claim; oldest-first makes live events wait behind a backlog.
 * 3. A tenth of the run is reserved for bulk, cut on its own: live load never starves an import.
 * 4. An ordered lane is in one run at a time: its row in `lane_runs` is locked before queue rows, and `claims` tells whether it moved since this statement's snapshot
 *    (its head could have been put back with a delay, and later batches would overtake it). What is taken is always its unbroken head.
 * 5. Locks are taken sorted, lanes before queue rows, all with SKIP LOCKED: claims neither wait nor deadlock.
 * 6. Suspects stand outside: they run alone (`CLAIM_SUSPECT`).
 * 7. While an application's old snapshot keeps dead rows from being vacuumed, the loose scan walks over all of them (300,000: 90 ms). Then most claims name the
 *    lanes to look at, and from which `seq`; now and then one looks at everything, which finds new lanes, late commits and what others gave back. Each claim
 *    says how many dead rows this connection has walked over (`DEAD_ROWS_READ`).
 * 8. Preferred batches (a broker's pointers) come first if they stand near the head of their lane, as published ones do; elsewhere they wait their turn. Their
 *    lanes are looked at first, whoever's slice they are in and wherever the rotation stands, and choose the route: a message reaches one engine only.
 *
 * $1 route or null, $2 routes to skip when $1 is null, $3 run, $4 owner, $5 most events, $6 most bytes, $7 fewest events, $8 lane after which to start,
 * $9 most lanes, $10 milliseconds to the run's deadline, $11 own seed or null, $12 seeds of all engines, $13 preferred batches, $14 bulk reserve in events,
 * $15 events per batch in the last claim: how many batches per lane are worth a look (too high a guess makes one short claim, too low one reads in vain),
 * $16 lanes to look at or null, $17 from which `seq` (ordered lanes: their own `low_seq`, exact), $18 lanes of the preferred batches, $19 milliseconds after which what waits is taken though it is fewer than $7, or null.
 */
import { IS_IN_NO_RUN, isRowOf, WITH_LANE_RUN } from "./lane-runs.ts";

/** Lanes `l` with their pipeline `p` and, of ordered ones, their run `r`. */
export const LANES = `onedata.lanes l join onedata.pipelines p on p.id = l.pipeline_id ${WITH_LANE_RUN}`;
export const LANE_IS_FREE = `p.state <> 'paused' and ${IS_IN_NO_RUN} and not l.parked and (l.blocked_until is null or l.blocked_until <= now())`;

/**
 * `q.run_id is null`, for rows that are looked up by their key. Said so that no plan takes the index of waiting rows for it: on a queue that was empty when the plan
 * was made that looked good, and then walked over all that waits, and all that is dead, for every single row.
 */
export const IS_UNCLAIMED = "num_nonnulls(q.run_id) = 0";

/**
 * The lanes with waiting batches, each with the `seq` of its first one, in two parts: those after the lane of $8, then those up to it. Whoever looks into a lane
 * begins at that `seq`: dead rows before it are walked over once.
 */
export const HEAD_OF_LANES = `
after_lane as (
  (select q.lane_id, q.seq from onedata.queue q where q.run_id is null and q.lane_id > $8::bigint order by q.lane_id, q.seq limit 1)
  union all
  select x.lane_id, x.seq from after_lane t cross join lateral (
    select q.lane_id, q.seq from onedata.queue q where q.run_id is null and q.lane_id > t.lane_id order by q.lane_id, q.seq limit 1) x
), upto_lane as (
  (select q.lane_id, q.seq from onedata.queue q where q.run_id is null and q.lane_id <= $8::bigint order by q.lane_id, q.seq limit 1)
  union all
  select x.lane_id, x.seq from upto_lane t cross join lateral (
    select q.lane_id, q.seq from onedata.queue q where q.run_id is null and q.lane_id > t.lane_id and q.lane_id <= $8::bigint order by q.lane_id, q.seq limit 1) x
)`;

/**
 * The first `seq` that waits in the lane at or after the floor. Not EXISTS: on a queue that was empty when the plan was made that became a semi-join over the whole index,
 * dead rows of all lanes included; LIMIT keeps it one short look per lane.
 */
const firstWaiting = (lane: string): string =>
  `cross join lateral (select q.seq from onedata.queue q where q.lane_id = ${lane}.lane_id and q.run_id is null and q.seq >= ${lane}.floor order by q.seq limit 1) f`;

/** The lateral subquery with OFFSET 0 keeps the planner from starting at `lanes`, of which there may be many more than waiting ones. */
const WAITING_LANES = `(
      select x.lane_id, f.seq as floor from (
        select u.lane_id, coalesce((select h.floor from unnest($16::bigint[], $17::bigint[]) h(lane_id, floor) where h.lane_id = u.lane_id), 0) as floor
          from unnest($18::bigint[]) u(lane_id)) x
        ${firstWaiting("x")}
      union all select lane_id, seq from after_lane where $16::bigint[] is null and not lane_id = any($18::bigint[])
      union all select lane_id, seq from upto_lane where $16::bigint[] is null and not lane_id = any($18::bigint[])
      union all select h.lane_id, f.seq from unnest($16::bigint[], $17::bigint[]) h(lane_id, floor)
        ${firstWaiting("h")}
       where $16::bigint[] is not null and not h.lane_id = any($18::bigint[])
    ) w cross join lateral (
      select l.id, l.tenant_id, l.pipeline_id, l.route, l.class, l.ordered, l.weight, r.claims, l.block_failures, p.active_version,
             case when $16::bigint[] is not null and l.ordered then r.low_seq else w.floor end as floor
        from ${LANES}
       where l.id = w.lane_id and ${LANE_IS_FREE}
         and ($11::bigint is null or l.id = any($18::bigint[]) or hashint8extended(l.id, $11::bigint) = (select max(hashint8extended(l.id, s)) from unnest($12::bigint[]) s))
      offset 0) l`;

const lease = (run: string, owner: string, deadlineMs: string): string =>
  `run_id = ${run}::uuid, owner = ${owner}::uuid, state = 'leased', attempt = q.attempt + 1, run_deadline = clock_timestamp() + make_interval(secs => ${deadlineMs}::float8 / 1000)`;

/** One text for all batches: 500 rows of 19 columns cost the client 5 ms, the texts 1 ms. `claim.ts` unpacks them in this order. */
const PACKED = `
  select string_agg(concat_ws(',', batch_id, seq, lane_id, tenant_id, pipeline_id, version, n, bytes, attempt, failures, generation, coalesce(import_id, 0), coalesce(job_id, 0),
           left(class, 1), ordered::int, kind, unchecked::int, part, block_failures), ';' order by seq) as batches,
         case when count(progress) > 0 then string_agg(coalesce(progress::text, ''), E'\\x1d' order by seq) end as progress
    from taken`;

/**
 * Entries of the index that led to no row that can be seen, so far as this backend has not yet handed in its statistics (which it does about once a second):
 * the server counts them anyway, in its own memory, and no noise of the machine is in it.
 */
const DEAD_ROWS_READ = `pg_stat_get_xact_tuples_returned('onedata.queue_waiting'::regclass) - pg_stat_get_xact_tuples_fetched('onedata.queue_waiting'::regclass)`;

export const CLAIM = `
with recursive ${HEAD_OF_LANES},
chosen as materialized (
  select coalesce($1::text, (select l.route from ${WAITING_LANES} where not l.route = any($2::text[]) limit 1)) as route
), lane as materialized (
  select l.*, row_number() over () as position from ${WAITING_LANES} where l.route = (select route from chosen) limit $9::int
), limits as materialized (
  select greatest(2, ceil(2 * $5::int / (greatest(1, count(*)) * $15::float8)))::int as per_lane from lane
), head as materialized (
  select l.id as lane_id, l.tenant_id, l.pipeline_id, l.class, l.ordered, l.weight, l.claims, l.block_failures, l.active_version, q.batch_id, q.seq, q.n, q.bytes, q.stops
    from lane l cross join lateral (
      select q.batch_id, q.seq, q.n, q.bytes, (q.suspect or coalesce(q.available_at > now(), false)) as stops
        from onedata.queue q where q.lane_id = l.id and q.run_id is null and q.seq >= l.floor
         and (l.ordered or not (q.suspect or coalesce(q.available_at > now(), false)))
       order by q.seq limit (select per_lane from limits)) q
), candidate as materialized (
  select *, filled / weight as level, (not ordered and batch_id = any($13::bigint[])) as preferred
    from (select h.*, row_number() over o as rn, sum(n) over o as filled, bool_or(stops) over o as stopped from head h window o as (partition by lane_id order by seq)) z
   where not stopped and (filled - n < $5::int or (not ordered and batch_id = any($13::bigint[])))
), shared as materialized (
  select z.*, z.class = 'bulk' and (z.before = 0 or z.before + z.n <= $14::int) as reserved
    from (select *, sum(n) over (partition by class order by level, seq) - n as before from candidate) z
), cut as materialized (
  select * from (
    select s.*, sum(n) over o - n as events_before, sum(bytes::bigint) over o as bytes_with
      from shared s window o as (order by reserved desc, preferred desc, level, seq)) z
   where events_before = 0 or (events_before + n <= $5::int and bytes_with <= $6::int)
), enough as materialized (
  select yes, case when yes then count else 0 end::int as picked from (
    select count(*), coalesce(sum(n) >= $7::int or min(batch_id) < onedata.id_at(clock_timestamp() - make_interval(secs => $19::float8 / 1000)), $7::int = 0) as yes from cut) z
), held as materialized (
  select r.lane_id from (select lane_id, min(claims) as claims from cut where ordered group by lane_id) c
    join onedata.lane_runs r on ${isRowOf("c")}
   where (select yes from enough) and r.run_id is null
   order by r.lane_id for update of r skip locked
), locked as materialized (
  select q.batch_id, c.lane_id, c.seq, c.ordered, c.claims, c.rn, c.active_version, c.pipeline_id, c.tenant_id, c.class, c.block_failures
    from cut c join onedata.queue q on q.batch_id = c.batch_id
   where (select yes from enough) and (not c.ordered or c.lane_id in (select lane_id from held))
     and ${IS_UNCLAIMED} and not q.suspect and coalesce(q.available_at <= now(), true)
   order by q.batch_id for update of q skip locked
), mine as materialized (
  select * from (select k.*, row_number() over (partition by lane_id order by seq) as place from locked k) z where not ordered or rn = place
), taken as (
  update onedata.queue q set ${lease("$3", "$4", "$10")}, version = coalesce(q.version, q.pinned_version, m.active_version)
    from mine m where q.batch_id = m.batch_id
  returning q.batch_id, q.seq, q.lane_id, q.n, q.bytes, q.version, q.attempt, q.failures, q.generation, q.kind, q.import_id, q.job_id, q.progress, q.unchecked,
            q.part, m.pipeline_id, m.tenant_id, m.class, m.ordered, m.block_failures
), taken_lanes as (
  update onedata.lane_runs r set run_id = $3::uuid, claims = r.claims + 1, low_seq = m.low_seq
    from (select lane_id, min(claims) as claims, min(seq) as low_seq from mine where ordered group by lane_id) m where ${isRowOf("m")}
)
select (select picked from enough) as picked, (select route from chosen) as route, (select id from lane order by position desc limit 1) as last_lane, t.*,
       ${DEAD_ROWS_READ} as dead_rows
  from (${PACKED}) t`;

/**
 * One suspect batch of any eligible lane, alone. On an ordered lane only its head: what stands before it goes first.
 * $1 routes to skip, $2 run, $3 owner, $4 milliseconds to the deadline.
 */
export const CLAIM_SUSPECT = `
with head as materialized (
  select q.batch_id, l.id as lane_id, l.tenant_id, l.pipeline_id, l.class, l.ordered, r.claims, l.route, l.block_failures, p.active_version
    from onedata.queue q join onedata.lanes l on l.id = q.lane_id join onedata.pipelines p on p.id = l.pipeline_id ${WITH_LANE_RUN}
   where q.run_id is null and q.suspect and coalesce(q.available_at <= now(), true) and ${LANE_IS_FREE}
     and not l.route = any($1::text[])
     and (not l.ordered or not exists (select from onedata.queue o where o.lane_id = l.id and o.run_id is null and o.seq < q.seq))
   order by q.seq limit 8
), held as materialized (
  select r.lane_id from head h join onedata.lane_runs r on h.ordered and ${isRowOf("h")}
   where r.run_id is null order by r.lane_id for update of r skip locked
), mine as materialized (
  select q.batch_id, h.lane_id, h.tenant_id, h.pipeline_id, h.class, h.ordered, h.claims, h.route, h.block_failures, h.active_version
    from head h join onedata.queue q on q.batch_id = h.batch_id
   where ${IS_UNCLAIMED} and (not h.ordered or h.lane_id in (select lane_id from held)) order by q.batch_id limit 1 for update of q skip locked
), taken as (
  update onedata.queue q set ${lease("$2", "$3", "$4")}, version = coalesce(q.version, q.pinned_version, m.active_version) from mine m where q.batch_id = m.batch_id
  returning q.batch_id, q.seq, q.lane_id, q.n, q.bytes, q.version, q.attempt, q.failures, q.generation, q.kind, q.import_id, q.job_id, q.progress, q.unchecked,
            q.part, m.pipeline_id, m.tenant_id, m.class, m.ordered, m.block_failures
), taken_lanes as (
  update onedata.lane_runs r set run_id = $2::uuid, claims = r.claims + 1 from mine m where m.ordered and ${isRowOf("m")}
)
select (select count(*)::int from taken) as picked, (select route from mine) as route, null::bigint as last_lane, t.* from (${PACKED}) t`;

/**
 * Which routes have waiting work, and how much, looked at up to $2 batches per lane: what an idle or choosing engine asks. $1 most lanes.
 * Lanes that may not run now (paused, blocked, held by a run) do not count.
 */
export const WAITING_ROUTES = `
with recursive waiting as (
  (select q.lane_id from onedata.queue q where q.run_id is null order by q.lane_id, q.seq limit 1)
  union all
  select x.lane_id from waiting t cross join lateral (
    select q.lane_id from onedata.queue q where q.run_id is null and q.lane_id > t.lane_id order by q.lane_id, q.seq limit 1) x
), lane as materialized (
  select l.* from (select lane_id from waiting limit $1::int) w cross join lateral (
    select l.id, l.route from ${LANES} where l.id = w.lane_id and ${LANE_IS_FREE} offset 0) l
)
select l.route, count(*)::int as lanes, sum(h.events)::int as events, sum(h.suspects)::int as suspects, min(h.first_seq) as first_seq
  from lane l cross join lateral (
    select coalesce(sum(z.n) filter (where not z.suspect), 0) as events, count(*) filter (where z.suspect) as suspects, min(z.seq) as first_seq
      from (select q.n, q.seq, q.suspect from onedata.queue q where q.lane_id = l.id and q.run_id is null and coalesce(q.available_at <= now(), true)
             order by q.seq limit $2::int) z) h
 where h.first_seq is not null group by l.route order by min(h.first_seq)`;
