/**
 * The completion: fence first and per batch, then everything that follows from it, in one statement and one synchronous commit.
 *
 * Rules kept:
 * 1. A batch counts only if its queue row still carries this run. What the fence does not return is dropped, without a loop: its successor has it.
 * 2. A batch whose every event is final loses its queue row; a partial one goes back to ready, smaller, with its progress. It keeps its version only if
 *    sinks have begun.
 * 3. Both leave a `runs` row with one verdict byte per ordinal.
 * 4. An ordered lane is free again when none of its batches is left under this run, in the same commit.
 * 5. Joins between parameter lists are hashed subplans (`in (select ...)`): the hot connections have hash joins off, and nested loops over lists are quadratic.
 *
 * $1 run, $2 engine, $3 woken by, $4 milliseconds since the run started, $5 steps json, $6 trace id hex,
 * per batch: $7 ids, $8 delivered, $9 filtered, $10 dead, $11 events left (0 = final), $12 bytes left, $13 delay ms, $14 outcomes, $15 verdicts hex with commas,
 * $16 progress json with U+001D, $26 standing (0 cleared, 1 as it was, 2 crashed), $27 whether the version stays, $28 versions; $17 ordered lanes;
 * dead letters: $18 json or null;
 * outputs, per batch and sink: $19 batch ids, $20 attempts, $21 sinks, $22 pipelines, $23 bytes, $24 ordinals `{...}` with U+001D, $25 payloads with U+001D.
 */
import { endLaneRuns } from "./lane-runs.ts";

export const COMPLETE = `
with given as materialized (
  select * from rows from (
    unnest($7::bigint[], $8::int[], $9::int[], $10::int[], $11::int[], $12::int[], $13::int[], $14::text[], $26::smallint[], $27::boolean[], $28::int[]),
    string_to_table($15::text, ','), string_to_table($16::text, E'\\x1d')
  ) g(batch_id, delivered, filtered, dead, left_n, left_bytes, delay_ms, outcome, standing, keeps_version, version, verdicts, progress)
), finished as (
  delete from onedata.queue q using given g where q.batch_id = g.batch_id and q.run_id = $1::uuid and g.left_n = 0
  returning q.batch_id, q.attempt, g.version, coalesce(q.import_id, q.job_id) as owner_id, g.delivered, g.filtered, g.dead, g.outcome, g.verdicts
), returned as (
  update onedata.queue q
     set run_id = null, owner = null, run_deadline = null, state = 'ready', n = g.left_n, bytes = g.left_bytes, progress = nullif(g.progress, '')::jsonb,
         version = case when g.keeps_version then q.version end,
         failures = case g.standing when 0 then 0 when 1 then q.failures else q.failures + 1 end,
         suspect = case g.standing when 0 then false when 1 then q.suspect else q.suspect or q.failures + 1 >= 2 end,
         part = case g.standing when 0 then 0 else q.part end,
         available_at = case when g.delay_ms > 0 then clock_timestamp() + make_interval(secs => g.delay_ms::float8 / 1000) end
    from given g where q.batch_id = g.batch_id and q.run_id = $1::uuid and g.left_n > 0
  returning q.batch_id, q.attempt, g.version, coalesce(q.import_id, q.job_id) as owner_id, g.delivered, g.filtered, g.dead, g.outcome, g.verdicts
), fenced as materialized (
  select * from finished union all select * from returned
), run as (
  insert into onedata.runs (batch_id, attempt, run_id, version, engine, woken_by, started_at, outcome, verdicts, steps, trace_id)
  select batch_id, attempt, $1::uuid, version, $2::uuid, $3::text, clock_timestamp() - make_interval(secs => $4::float8 / 1000), outcome, decode(verdicts, 'hex'),
         $5::text::jsonb, decode($6::text, 'hex') from fenced
), tally as (
  insert into onedata.tallies as t (owner_id, stripe, delivered, filtered, dead)
  select owner_id, (hashtext($1::text) & 7)::smallint, sum(delivered), sum(filtered), sum(dead) from fenced where owner_id is not null group by owner_id order by owner_id
  on conflict (owner_id, stripe) do update set delivered = t.delivered + excluded.delivered, filtered = t.filtered + excluded.filtered, dead = t.dead + excluded.dead
), lane as (
  ${endLaneRuns({ lanes: "unnest($17::bigint[]) u(lane_id)", run: "= $1::uuid", leaves: "q.batch_id = any($7::bigint[])" })}
), letter as (
  insert into onedata.dead_letters (tenant_id, pipeline_id, batch_id, n, generation, version, step, sink, code, fingerprint, message, payload, trace_id, import_id)
  select d.tenant_id, d.pipeline_id, d.batch_id, d.n, d.generation, d.version, d.step, d.sink, d.code, d.fingerprint, d.message, d.payload, decode(d.trace_id, 'hex'), d.import_id
    from json_to_recordset(coalesce($18, '[]')::json) d(tenant_id bigint, pipeline_id bigint, batch_id bigint, n int, generation int, version int, step text, sink text,
      code text, fingerprint text, message text, payload text, trace_id text, import_id bigint)
   where d.batch_id in (select batch_id from fenced)
), output as (
  insert into onedata.outputs (batch_id, attempt, sink, pipeline_id, ordinals, payloads, bytes)
  select o.batch_id, o.attempt, o.sink, o.pipeline_id, o.ordinals::int[], o.payloads, o.bytes
    from rows from (unnest($19::bigint[], $20::int[], $21::smallint[], $22::bigint[], $23::int[]), string_to_table($24::text, E'\\x1d'), string_to_table($25::text, E'\\x1d'))
      o(batch_id, attempt, sink, pipeline_id, bytes, ordinals, payloads)
   where o.batch_id in (select batch_id from fenced)
)
select string_agg(batch_id::text, ',') as ids from fenced`;
