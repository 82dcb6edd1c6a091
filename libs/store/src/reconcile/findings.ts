/** The reconciler's last result, kept so that every control process tells the same; and the figures beside it. */
import type { Sql } from "../connection.ts";
import type { Finding, FindingState } from "./check.ts";
import { type ReconcileOptions, reconcile } from "./reconcile.ts";

export type KeptFinding = Finding & { readonly since: Date; readonly seenAt: Date };

export type Pass = {
  readonly findings: readonly Finding[];
  /** Those that were better, or not there, in the pass before. */
  readonly worse: readonly Finding[];
};

const RANK: Readonly<Record<FindingState, number>> = { ok: 0, warning: 1, failed: 2 };

/**
 * One pass by one of all processes; `undefined`: another one took it less than `everyMs` ago. Who takes it is decided by one row, not by a lock that a
 * session would have to keep: whoever dies in a pass misses one.
 */
export async function reconcilePass(sql: Sql, { everyMs, ...options }: ReconcileOptions & { readonly everyMs: number }): Promise<Pass | undefined> {
  const [mine] = await sql`
    insert into onedata.detectors as d (name, position) values ('reconcile', 0)
    on conflict (name) do update set updated_at = clock_timestamp() where d.updated_at <= clock_timestamp() - make_interval(secs => ${everyMs}::float8 / 1000)
    returning 1`;
  if (mine === undefined) return undefined;
  const before = new Map((await readFindings(sql)).map((finding) => [finding.check, finding.state]));
  const findings = await reconcile(sql, options);
  const kept = findings.map(({ check, state, detail, advice, count, examples, tookMs }) => ({
    name: check,
    state,
    detail,
    advice,
    count,
    examples,
    took_ms: tookMs,
  }));
  await sql`
    with pass as (
      insert into onedata.findings as f (name, state, detail, advice, count, examples, took_ms)
      select r.name, r.state, r.detail, r.advice, r.count, r.examples, r.took_ms
        from jsonb_to_recordset(${JSON.stringify(kept)}::text::jsonb) r(name text, state text, detail text, advice text, count int, examples text[], took_ms real)
      on conflict (name) do update set state = excluded.state, detail = excluded.detail, advice = excluded.advice, count = excluded.count, examples = excluded.examples,
        took_ms = excluded.took_ms, seen_at = clock_timestamp(), since = case when f.state = excluded.state then f.since else clock_timestamp() end
    ) delete from onedata.findings where seen_at < clock_timestamp() - interval '1 day'`;
  return { findings, worse: findings.filter(({ check, state }) => RANK[state] > RANK[before.get(check) ?? "ok"]) };
}

/** By name. */
export async function readFindings(sql: Sql): Promise<readonly KeptFinding[]> {
  const rows = await sql<
    {
      name: string;
      state: FindingState;
      detail: string;
      advice: string;
      count: number;
      examples: string[];
      took_ms: number;
      since: Date;
      seen_at: Date;
    }[]
  >`select * from onedata.findings order by name`;
  return rows.map((row) => ({
    check: row.name,
    state: row.state,
    detail: row.detail,
    advice: row.advice,
    count: row.count,
    examples: row.examples,
    tookMs: row.took_ms,
    since: row.since,
    seenAt: row.seen_at,
  }));
}

/** Failed ones first, then warnings; by name. */
export const worstFirst = <T extends Finding>(findings: readonly T[]): T[] =>
  [...findings].sort((a, b) => RANK[b.state] - RANK[a.state] || (a.check < b.check ? -1 : 1));

export type SystemFigures = {
  readonly enginesAlive: number;
  readonly queueBatches: number;
  /** Of the oldest batch that waits in no run; 0 when none does. */
  readonly oldestWaitingSeconds: number;
  /** Counted to ten thousand per pipeline. */
  readonly deadLettersOpen: number;
  readonly webhooksWaiting: number;
  readonly pipelinesBlocked: number;
};

const MOST_LETTERS = 10_000;
const MOST_BATCHES = 1_000_000;

/** Cheap enough for every minute: indexes, and bounds on what may be large. */
export async function readSystemFigures(sql: Sql): Promise<SystemFigures> {
  const [row] = await sql<SystemFigures[]>`
    select (select count(*)::int from onedata.engines where alive_until > clock_timestamp()) as "enginesAlive",
           (select count(*)::int from (select 1 from onedata.queue limit ${MOST_BATCHES}) q) as "queueBatches",
           coalesce((select greatest(extract(epoch from clock_timestamp() - min(onedata.time_of(w.batch_id))), 0)::float8 from onedata.lanes l
             cross join lateral (select batch_id from onedata.queue q where q.lane_id = l.id and q.run_id is null order by q.seq limit 1) w), 0) as "oldestWaitingSeconds",
           (select coalesce(sum(o.n), 0)::int from onedata.pipelines p cross join lateral (
             select count(*) as n from (select 1 from onedata.dead_letters d where d.tenant_id = p.tenant_id and d.pipeline_id = p.id and d.state = 'open' limit ${MOST_LETTERS}) x) o) as "deadLettersOpen",
           (select count(*)::int from onedata.deliveries where state = 'waiting') as "webhooksWaiting",
           (select count(distinct pipeline_id)::int from onedata.lanes where block_failures > 0) as "pipelinesBlocked"`;
  return row ?? { enginesAlive: 0, queueBatches: 0, oldestWaitingSeconds: 0, deadLettersOpen: 0, webhooksWaiting: 0, pipelinesBlocked: 0 };
}
