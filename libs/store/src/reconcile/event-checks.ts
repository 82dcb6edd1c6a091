/** Events against their verdicts; imports, jobs and dead letters against what was counted. */
import { formatId } from "@onedata/core";
import type { Transaction } from "../connection.ts";
import { batchExample, type Check, judge, MOST } from "./check.ts";

/** Batches that one pass looks at event by event. */
const BATCHES = 150;
const RUNS = 3_000;
const JOBS = 500;

/** A window of batches of the last day, and the newest ones that had time to be done: what goes wrong is seen at once, what went wrong within hours. */
const sample = (tx: Transaction, random: () => number) => tx`
  (select id, kind, job_id from onedata.batches where id >= onedata.id_at(clock_timestamp() - make_interval(secs => ${60 + 86_400 * random()}::float8))
      and id < onedata.id_at(clock_timestamp() - interval '1 minute') order by id limit ${BATCHES})
  union
  (select id, kind, job_id from onedata.batches where id < onedata.id_at(clock_timestamp() - interval '1 minute') order by id desc limit ${BATCHES})`;

export const eventChecks: readonly Check[] = [
  {
    name: "batches.unanswered",
    advice: "these events were accepted and have neither a place in the queue nor a verdict: report it, with the engines' logs of that time",
    async look(tx, { random }) {
      // What a cancelled job took out of the queue has no verdict, rightly.
      const rows = await tx<{ id: bigint; n: number }[]>`
        select b.id, x.n from (${sample(tx, random)}) b
          cross join lateral (
            select m.n from (select n from onedata.events where b.kind = 'capture' and batch_id = b.id union all select n from onedata.batch_refs where b.kind <> 'capture' and batch_id = b.id) m
             where not exists (select from onedata.runs r where r.batch_id = b.id and length(r.verdicts) > m.n and get_byte(r.verdicts, m.n) <> 0) limit 1
          ) x
         where not exists (select from onedata.queue q where q.batch_id = b.id)
           and (b.job_id is null or exists (select from onedata.jobs j where j.id = b.job_id and j.state in ('running', 'done')))
         limit ${MOST}`;
      return judge(
        rows.map(({ id, n }) => ({ example: batchExample(id, n) })),
        {
          state: "failed",
          ok: "every event looked at waits or has its verdict",
          bad: (count) => `${count} batches of up to ${2 * BATCHES} looked at have an event that neither waits nor has a verdict`,
        },
      );
    },
  },
  {
    name: "events.two_verdicts",
    advice: "an event was finished twice in one delivery, so a fence did not hold: report it, with the engines' logs of that time",
    async look(tx) {
      const rows = await tx<{ batch_id: bigint; n: number }[]>`
        with recent as materialized (
          select batch_id, attempt, verdicts from onedata.runs where batch_id > onedata.id_at(clock_timestamp() - interval '1 day') order by batch_id desc limit ${RUNS}
        ), many as materialized (select batch_id from recent group by batch_id having count(*) > 1)
        select m.batch_id, v.n from many m cross join lateral (
          select o.n from recent r cross join lateral generate_series(0, length(r.verdicts) - 1) o(n)
           where r.batch_id = m.batch_id and get_byte(r.verdicts, o.n) <> 0 group by o.n having count(*) > 1 limit 1
        ) v limit ${MOST}`;
      return judge(
        rows.map(({ batch_id, n }) => ({ example: batchExample(batch_id, n) })),
        {
          state: "failed",
          ok: "no event looked at has two final verdicts",
          bad: (count) => `${count} batches of the last ${RUNS} runs have an event with two final verdicts`,
        },
      );
    },
  },
  {
    name: "imports.tallies",
    advice: "more of these imports was finished than was accepted: report it",
    async look(tx) {
      const rows = await tx<{ id: bigint }[]>`
        select i.id from (select id, accepted from onedata.imports where id > onedata.id_at(clock_timestamp() - interval '2 days') order by id desc limit ${JOBS}) i
         where (select coalesce(sum(t.delivered + t.filtered + t.dead), 0) from onedata.tallies t where t.owner_id = i.id) > i.accepted limit ${MOST}`;
      return judge(
        rows.map(({ id }) => ({ example: formatId("imp", id) })),
        {
          state: "failed",
          ok: "no import has more results than records",
          bad: (count) => `${count} imports have more verdicts than accepted records`,
        },
      );
    },
  },
  {
    name: "jobs.stalled",
    advice: "look at the job (onedata jobs show <job>) and at control's log; cancel it if it does not move",
    async look(tx) {
      const rows = await tx<{ id: bigint }[]>`
        select j.id from (select * from onedata.jobs where finished_at is null order by id limit ${JOBS}) j left join onedata.pipelines p on p.id = j.pipeline_id
         where j.state in ('preparing', 'running', 'cancelled') and j.updated_at < clock_timestamp() - interval '5 minutes' and coalesce(p.state, 'deleting') <> 'paused'
           and not exists (select from onedata.queue q where q.job_id = j.id)
         limit ${MOST}`;
      return judge(
        rows.map(({ id }) => ({ example: formatId("job", id) })),
        {
          state: "warning",
          ok: "every open job moves or has batches in the queue",
          bad: (count) => `${count} jobs are open, have nothing in the queue, and did not move for five minutes`,
        },
      );
    },
  },
  {
    name: "dead_letters.replaying",
    advice: "these stay out of every list of open ones: replay them again by id, and report it",
    async look(tx) {
      const rows = await tx<{ id: bigint }[]>`
        select d.id from (select id from onedata.jobs where finished_at < clock_timestamp() - interval '1 minute' order by id desc limit ${JOBS}) j
          cross join lateral (select id from onedata.dead_letters d where d.job_id = j.id and d.state = 'replaying' limit 5) d limit ${MOST}`;
      return judge(
        rows.map(({ id }) => ({ example: formatId("dl", id) })),
        {
          state: "failed",
          ok: "no dead letter waits for a job that has ended",
          bad: (count) => `${count} dead letters are being replayed by jobs that have ended`,
        },
      );
    },
  },
  {
    name: "webhooks.failing",
    advice: "look at the receiver, then `onedata subscriptions test <subscription>`",
    async look(tx) {
      const rows = await tx<{ id: bigint; problem: string | null }[]>`
        select id, problem from onedata.subscriptions where problem is not null and (failures >= 3 or not enabled) order by id limit ${MOST}`;
      return judge(
        rows.map(({ id }) => ({ example: formatId("sub", id) })),
        { state: "warning", ok: "webhooks arrive", bad: (count) => `${count} webhook subscriptions do not get their messages: ${rows[0]?.problem}` },
      );
    },
  },
  {
    name: "connections.secret_key",
    advice: "ONEDATA_SECRET_KEY is not the key these were encrypted with: set it back, or store their secrets again",
    async look(tx, { secretKeyId }) {
      const rows =
        secretKeyId === undefined
          ? []
          : await tx<{ example: string }[]>`
              select name as example from onedata.connections where secret is not null and split_part(secret_key_id, ' ', 1) <> ${secretKeyId} order by name limit ${MOST}`;
      return judge(rows, {
        state: "failed",
        ok: "secrets of connections can be opened",
        bad: (count) => `the secrets of ${count} connections cannot be opened with the present key`,
      });
    },
  },
];
