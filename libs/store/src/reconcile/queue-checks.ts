/** The queue against engines, batches, runs and lanes. */
import type { Transaction } from "../connection.ts";
import { APART, IS_IN_RUN, WITH_LANE_RUN } from "../lane-runs.ts";
import { batchExample, type Check, judge, MOST } from "./check.ts";

/** Queue rows that one pass looks at: a window that begins somewhere else each time. */
const WINDOW = 1_000;

export const queueChecks: readonly Check[] = [
  {
    name: "engines.alive",
    advice: "start an engine (npm start, or the engine's process); what was captured waits and is not lost",
    async look(tx) {
      const [row] = await tx<{ alive: number; waiting: boolean }[]>`
        select (select count(*)::int from onedata.engines where greatest(alive_until, onedata.server_ready_at() + (alive_until - renewed_at)) > clock_timestamp()) as alive,
               exists (select from onedata.queue) as waiting`;
      const { alive = 0, waiting = false } = row ?? {};
      if (alive > 0) return { state: "ok", count: 0, detail: alive === 1 ? "1 engine is alive" : `${alive} engines are alive` };
      return { state: waiting ? "failed" : "warning", count: 1, detail: `no engine is alive${waiting ? ", and events wait" : ""}` };
    },
  },
  {
    name: "queue.orphaned_runs",
    advice: "engines take such runs back within a lease; if it stays, restart the engines and read their logs",
    async look(tx, { thresholds }) {
      // Without any engine nobody takes back, and engines.alive says so.
      const rows = await tx<{ batch_id: bigint }[]>`
        select q.batch_id from onedata.queue q left join onedata.engines e on e.incarnation = q.owner
         where q.run_id is not null and onedata.server_ready_at() < clock_timestamp() - make_interval(secs => ${thresholds.restartGraceMs}::float8 / 1000)
           and (q.run_deadline < clock_timestamp() - interval '30 seconds'
             or coalesce(e.alive_until + 2 * (e.alive_until - e.renewed_at), q.run_deadline + interval '30 seconds') < clock_timestamp())
           and exists (select from onedata.engines a where a.alive_until > clock_timestamp())
         limit ${MOST}`;
      return judge(toExamples(rows), {
        state: "failed",
        ok: "every run belongs to a living engine",
        bad: (count) => `${count} batches are held by runs whose engine is dead, or whose deadline is long over`,
      });
    },
  },
  {
    name: "queue.missing_events",
    advice:
      "the events of these batches are gone, by hand or by a restore of a part: restore the database as a whole, or delete the rows of onedata.queue",
    async look(tx, { random }) {
      const rows = await tx<{ batch_id: bigint }[]>`
        select q.batch_id from (${windowOf(tx, random)}) q
         where not exists (select from onedata.batches b where b.id = q.batch_id)
            or not exists (select from onedata.events e where q.kind = 'capture' and e.batch_id = q.batch_id
                           union all select from onedata.batch_refs r where q.kind <> 'capture' and r.batch_id = q.batch_id)
         limit ${MOST}`;
      return judge(toExamples(rows), {
        state: "failed",
        ok: "waiting batches have their events",
        bad: (count) => `${count} of ${WINDOW} looked at in the queue have no batch or no events`,
      });
    },
  },
  {
    name: "queue.finished_rows",
    advice:
      "these batches would be run again, and sinks without a ledger would get them twice: delete the named rows of onedata.queue, and report it",
    async look(tx, { random }) {
      const rows = await tx<{ batch_id: bigint }[]>`
        select q.batch_id from (${windowOf(tx, random)}) q
         where exists (select from onedata.runs r where r.batch_id = q.batch_id and (r.outcome in ('final', 'discarded')
                 or (q.progress is null and r.verdicts is not null and ltrim(encode(r.verdicts, 'hex'), '0') <> '')))
         limit ${MOST}`;
      return judge(toExamples(rows), {
        state: "failed",
        ok: "what has its verdicts has left the queue",
        bad: (count) => `${count} of ${WINDOW} looked at in the queue have verdicts already`,
      });
    },
  },
  {
    name: "lanes.stranded",
    advice: "the upkeep frees such lanes within a minute; if it comes again, report it",
    async look(tx) {
      const rows = await tx<{ example: string }[]>`
        select p.name as example from onedata.lanes l join onedata.pipelines p on p.id = l.pipeline_id left join onedata.lane_runs r on r.lane_id = l.id
         where (l.run_id <> ${APART} and not exists (select from onedata.queue q where q.run_id = l.run_id and q.lane_id = l.id))
            or (r.run_id is not null and not exists (select from onedata.queue q where q.run_id = r.run_id and q.lane_id = l.id)) limit ${MOST}`;
      return judge(rows, {
        state: "failed",
        ok: "no ordered lane is held by a run that is gone",
        bad: (count) => `${count} ordered lanes are held by runs that hold none of their batches`,
      });
    },
  },
  {
    name: "lanes.block_without_failure",
    advice: "nothing lifts such a block: activate the pipeline's version again, or restart the engines; and report it",
    async look(tx) {
      const rows = await tx<{ example: string }[]>`
        select p.name as example from onedata.lanes l join onedata.pipelines p on p.id = l.pipeline_id
         where l.blocked_until > clock_timestamp() and (l.block_failures = 0 or l.block_reason is null) limit ${MOST}`;
      return judge(rows, {
        state: "failed",
        ok: "every block has its failure",
        bad: (count) => `${count} lanes are blocked without a failure that says why`,
      });
    },
  },
  {
    name: "pipelines.blocked",
    advice: "look at the service or sink that it names; nothing is lost, it goes on by itself when that works",
    async look(tx) {
      const rows = await tx<{ example: string; reason: string }[]>`
        select p.name as example, min(l.block_reason) as reason from onedata.lanes l join onedata.pipelines p on p.id = l.pipeline_id
         where l.block_failures > 0 and coalesce(l.block_since, clock_timestamp()) < clock_timestamp() - interval '1 minute'
           and exists (select from onedata.queue q where q.lane_id = l.id and q.run_id is null)
         group by p.id, p.name order by p.name limit ${MOST}`;
      return judge(rows, {
        state: "warning",
        ok: "no pipeline is blocked by a service or sink",
        bad: (count) => `${count} pipelines wait for a service or sink for more than a minute; ${rows[0]?.example}: ${rows[0]?.reason}`,
      });
    },
  },
  {
    name: "pipelines.paused",
    advice: "resume it (onedata resume <pipeline>) when its cause is mended; new events are kept until then, within retention",
    async look(tx) {
      const rows = await tx<{ example: string }[]>`
        select p.name as example from onedata.pipelines p
         where p.state = 'paused' and exists (select from onedata.lanes l join onedata.queue q on q.lane_id = l.id and q.run_id is null where l.pipeline_id = p.id)
         order by p.name limit ${MOST}`;
      return judge(rows, { state: "warning", ok: "no events wait behind a pause", bad: (count) => `events of ${count} paused pipelines wait` });
    },
  },
  {
    name: "queue.stuck",
    advice: "engines run, and do not take these batches: read the engines' logs; `onedata events <pipeline>` says what each waits for",
    async look(tx) {
      // The first waiting batch of each live lane that nothing holds back.
      const rows = await tx<{ batch_id: bigint }[]>`
        select w.batch_id from onedata.lanes l join onedata.pipelines p on p.id = l.pipeline_id and p.state = 'running' ${tx.unsafe(WITH_LANE_RUN)}
          cross join lateral (select q.batch_id, q.available_at from onedata.queue q where q.lane_id = l.id and q.run_id is null order by q.seq limit 1) w
         where l.class = 'live' and not ${tx.unsafe(IS_IN_RUN)} and (l.blocked_until is null or l.blocked_until < clock_timestamp() - interval '2 minutes')
           and greatest(onedata.time_of(w.batch_id), w.available_at) < clock_timestamp() - interval '2 minutes'
           and exists (select from onedata.engines a where a.alive_until > clock_timestamp())
         limit ${MOST}`;
      return judge(toExamples(rows), {
        state: "warning",
        ok: "live events are taken within two minutes",
        bad: (count) => `the first batch of ${count} live lanes waits for more than two minutes, and nothing holds it back`,
      });
    },
  },
  {
    name: "queue.published_stale",
    advice: "the broker keeps or loses its messages: look at broker.state; engines take the batches all the same, later",
    async look(tx) {
      // Publish numbers double the patience of the relay, up to a quarter of an hour.
      const rows = await tx<{ batch_id: bigint }[]>`
        select batch_id from onedata.queue where state = 'published' and run_id is null and published_at < clock_timestamp() - interval '20 minutes' limit ${MOST}`;
      return judge(toExamples(rows), {
        state: "warning",
        ok: "no published batch is forgotten",
        bad: (count) => `${count} batches were published more than twenty minutes ago and were not taken`,
      });
    },
  },
  {
    name: "broker.state",
    advice: "look at the broker and at its address in the engines' settings; without it engines poll, and nothing is lost",
    async look(tx) {
      const [known] =
        await tx`select 1 from pg_attribute where attrelid = 'onedata.engines'::regclass and attname = 'broker_state' and not attisdropped`;
      if (known === undefined) return { state: "ok", count: 0, detail: "engines of this release say nothing of a broker" };
      const rows = await tx<{ example: string; broker_state: string }[]>`
        select case when e.name <> '' then e.name || ' (' || left(e.incarnation::text, 8) || ')' else e.incarnation::text end as example, e.broker_state
          from onedata.engines e
         where e.alive_until > clock_timestamp() and e.broker_state like 'down%' limit ${MOST}`;
      return judge(rows, {
        state: "warning",
        ok: "no living engine says that its broker is down",
        bad: (count) => `${count} engines are not connected to their broker: ${rows[0]?.broker_state}`,
      });
    },
  },
];

const windowOf = (tx: Transaction, random: () => number) => tx`
  select q.batch_id, q.kind, q.progress from onedata.queue q
   where q.batch_id >= (select min(batch_id) + ((max(batch_id) - min(batch_id)) * ${random()}::float8)::bigint from onedata.queue) order by q.batch_id limit ${WINDOW}`;

const toExamples = (rows: readonly { batch_id: bigint }[]) => rows.map(({ batch_id }) => ({ example: batchExample(batch_id) }));
