/**
 * The relay's statement: which waiting batches get a pointer to the broker now, marked as published in the same breath.
 *
 * Rules kept:
 * 1. No index has `state`, `publish_seq` or `published_at`, so marking is a heap-only update. Batches to publish are found as claims find theirs: at the heads
 *    of the waiting lanes. What is published stands there too, so the same look counts it.
 * 2. A window per tenant, in events, for what is published and not yet claimed: a tenant with a million waiting batches has no more pointers in the broker
 *    than one with some thousands. Within a tenant the lanes share by water-filling, as in claims.
 * 3. Tenants share a turn alike: its rows are those of the least filled windows, so nobody's publication waits behind another's backlog.
 * 4. Lanes that may not run now (paused, blocked, ordered and held by a run) get no pointers: a claim could do nothing with them.
 * 5. A published batch waits again when its message must be lost: published before the broker lost its store ($6), or too long ago, which is twice as long with
 *    every publish number. Too long ago counts at once when the broker is empty ($7), else only after $11: a slow backlog is not doubled.
 * 6. No joins between these lists: the connection has hash joins off, and a nested loop over 200 tenants and 2,000 rows took 130 of 150 ms.
 * 7. Any number of relays: rows are locked in order with SKIP LOCKED, and the state is tested again on the locked row.
 *
 * $1 most lanes, $2 rows to look at, over all lanes, $3 most rows of one lane, $4 window in events, $5 most batches, $6 milliseconds since the broker lost
 * its store or null, $7 broker is empty, $8 lane after which to start, $9 milliseconds until a first publish counts as lost, $10 most of them,
 * $11 milliseconds after which it counts as lost whatever the broker holds.
 */
import { HEAD_OF_LANES, IS_UNCLAIMED, LANE_IS_FREE, LANES } from "../claim-sql.ts";

const before = (milliseconds: string): string => `clock_timestamp() - make_interval(secs => (${milliseconds})::float8 / 1000)`;

const IS_LOST = `(q.state = 'published' and (
     q.published_at < ${before("$6::float8")}
  or q.published_at < ${before("least($10::float8, $9::float8 * 2 ^ least(q.publish_seq - 1, 20))")} and ($7::int > 0 or q.published_at < ${before("$11::float8")})))`;

export const PUBLISH = `
with recursive ${HEAD_OF_LANES},
lane as materialized (
  select l.*, row_number() over () as position from (select lane_id, seq from after_lane union all select lane_id, seq from upto_lane) w cross join lateral (
    select l.id, l.tenant_id, l.route, l.ordered, l.weight, w.seq as first_seq from ${LANES}
     where l.id = w.lane_id and ${LANE_IS_FREE} offset 0) l
  limit $1::int
), depth as materialized (
  select least($3::int, greatest(4, $2::int / greatest(1, count(*))))::int as rows from lane
), head as materialized (
  select l.id as lane_id, l.tenant_id, l.route, l.weight, q.batch_id, q.seq, q.n, q.published,
         bool_or(q.stops) over (partition by l.id order by q.seq) as stopped, sum(q.n) over (partition by l.id order by q.seq) / l.weight as level
    from lane l cross join lateral (
      select q.batch_id, q.seq, q.n, (q.state = 'published' and ${IS_LOST} is not true) as published, (q.suspect or coalesce(q.available_at > now(), false)) as stops
        from onedata.queue q where q.lane_id = l.id and q.run_id is null and q.seq >= l.first_seq and (l.ordered or not (q.suspect or coalesce(q.available_at > now(), false)))
       order by q.seq limit (select rows from depth)) q
), opened as materialized (
  select *, coalesce(sum(n) filter (where published) over (partition by tenant_id), 0) as open_events from head
), candidate as materialized (
  select *, open_events + sum(n) over (partition by tenant_id order by level, seq) as filled from opened where not published and not stopped
), chosen as materialized (
  select * from candidate where filled - n < $4::bigint order by filled, level, seq limit $5::int
), locked as materialized (
  select q.batch_id, c.route from chosen c join onedata.queue q on q.batch_id = c.batch_id
   where ${IS_UNCLAIMED} and (q.state = 'ready' or ${IS_LOST}) order by q.batch_id for update of q skip locked
), marked as (
  update onedata.queue q set state = 'published', publish_seq = q.publish_seq + 1, published_at = clock_timestamp()
    from locked k where q.batch_id = k.batch_id returning q.batch_id, q.lane_id, q.publish_seq, q.n, q.seq, k.route
)
select (select id from lane order by position desc limit 1) as last_lane,
       (select count(*) from candidate) > (select count(*) from chosen) or exists (select from head group by lane_id having count(*) >= (select rows from depth)) as more,
       r.route, r.batches
  from (select 1) one left join (
    select route, string_agg(concat_ws(',', batch_id, lane_id, publish_seq, n), ';' order by seq) as batches from marked group by route) r on true`;

/** $1 batches, $2 their publish numbers: what could not be handed over waits again. Whoever was claimed or published anew since stays as it is. */
export const UNPUBLISH = `
update onedata.queue q set state = 'ready', published_at = null
  from unnest($1::bigint[], $2::int[]) g(batch_id, publish_seq)
 where q.batch_id = g.batch_id and q.publish_seq = g.publish_seq and q.state = 'published' and q.run_id is null`;
