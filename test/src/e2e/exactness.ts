/** The pipeline of the end-to-end tests, and the comparison of what was acknowledged with what arrived. */
import { waitFor } from "../world/wait-for.ts";
import type { World } from "../world/world.ts";

export const TABLE = "e2e_sink";
const PIPELINE = "e2e";

/** Answers the path that captures. The table has no unique constraint: an effect done twice would show. */
export async function applyExactPipeline(world: World): Promise<string> {
  await world.warehouse.unsafe(`create table ${TABLE} (n int, text text, squared numeric); alter table ${TABLE} owner to warehouse`);
  const answer = await world.api.send("PUT", `/v1/pipelines/${PIPELINE}`, {
    name: PIPELINE,
    steps: [{ id: "squared", use: "record.map", with: { set: { squared: "n * n" } } }],
    sinks: [{ use: "postgres.insert", with: { connection: "warehouse", table: TABLE } }, { use: "onedata.outputs" }],
  });
  if (answer.status !== 200) throw new Error(`the pipeline was not applied: ${answer.text}`);
  return `/v1/pipelines/${PIPELINE}/events`;
}

export type Exactness = {
  readonly acknowledged: number;
  readonly captured: number;
  /** Rows of the sink, different numbers among them, and those that were acknowledged. */
  readonly rows: number;
  readonly distinct: number;
  readonly missing: readonly number[];
  readonly outputs: number;
  readonly distinctOutputs: number;
  readonly queued: number;
  /** Of the first batches left in the queue, as JSON. */
  readonly left: readonly string[];
  readonly deadLetters: number;
  /** Their causes, as JSON. */
  readonly deaths: readonly string[];
  /** Runs that took a batch again: 0 means that nothing was interrupted. */
  readonly repeatedAttempts: number;
  readonly isExact: boolean;
};

/** Waits until the queue is empty; at the timeout it compares all the same, so that the report says what is left. */
export async function compare(world: World, acknowledged: ReadonlySet<number>, drainTimeoutMs: number): Promise<Exactness> {
  const countQueued = async (): Promise<number> => {
    const [row] = await world.platform<{ n: number }[]>`select coalesce(sum(n), 0)::int n from onedata.queue`;
    return row?.n ?? 0;
  };
  await waitFor("drained", countQueued, (left) => left === 0, drainTimeoutMs).catch(() => undefined);
  const rows = await world.warehouse.unsafe<{ n: number }[]>(`select n from ${TABLE}`);
  const numbers = new Set(rows.map(({ n }) => n));
  const [platform] = await world.platform<{ captured: number; outputs: number; distinct_outputs: number; dead: number; repeated: number }[]>`
    with output as (
      select o.batch_id, o.attempt, unnest(o.ordinals) ordinal, unnest(string_to_array(o.payloads, E'\\x1e')) payload from onedata.outputs o
        join onedata.pipelines p on p.id = o.pipeline_id where p.name = ${PIPELINE})
    select (select coalesce(sum(b.n), 0)::int from onedata.batches b join onedata.pipelines p on p.id = b.pipeline_id where p.name = ${PIPELINE}) captured,
           (select count(*)::int from output) outputs,
           (select count(distinct payload::json->>'n')::int from output) distinct_outputs,
           (select count(*)::int from onedata.dead_letters) dead,
           (select count(*)::int from onedata.runs where attempt > 1) repeated`;
  const missing = [...acknowledged].filter((n) => !numbers.has(n));
  const found = {
    acknowledged: acknowledged.size,
    captured: platform?.captured ?? 0,
    rows: rows.length,
    distinct: numbers.size,
    missing: missing.slice(0, 20),
    outputs: platform?.outputs ?? 0,
    distinctOutputs: platform?.distinct_outputs ?? 0,
    queued: await countQueued(),
    left: (
      await world.platform<{ row: string }[]>`
        select json_build_object('batch', q.batch_id, 'n', q.n, 'attempt', q.attempt, 'failures', q.failures, 'state', q.state, 'suspect', q.suspect, 'run', q.run_id,
                 'due', q.run_deadline, 'available', q.available_at, 'ownerAlive', e.alive_until > clock_timestamp(), 'progress', q.progress, 'now', clock_timestamp(),
                 'laneBlockedUntil', l.blocked_until, 'why', l.block_reason,
                 'runs', (select json_agg(json_build_object('attempt', r.attempt, 'outcome', r.outcome, 'at', r.ended_at)) from onedata.runs r where r.batch_id = q.batch_id))::text as row
          from onedata.queue q left join onedata.engines e on e.incarnation = q.owner left join onedata.lanes l on l.id = q.lane_id order by q.batch_id limit 5`
    ).map(({ row }) => row),
    deadLetters: platform?.dead ?? 0,
    deaths: (
      await world.platform<{ row: string }[]>`
        select json_build_object('n', count(*), 'step', step, 'sink', sink, 'code', code, 'example', min(message))::text as row
          from onedata.dead_letters group by step, sink, code order by count(*) desc limit 5`
    ).map(({ row }) => row),
    repeatedAttempts: platform?.repeated ?? 0,
  };
  return {
    ...found,
    isExact:
      missing.length === 0 &&
      [found.captured, found.rows, found.distinct, found.outputs, found.distinctOutputs].every((count) => count === found.acknowledged) &&
      found.queued === 0 &&
      found.deadLetters === 0,
  };
}

export function describeExactness(found: Exactness): string {
  const lines: readonly (readonly [string, number | string])[] = [
    ["events acknowledged", found.acknowledged],
    ["events captured", found.captured],
    ["rows in the Postgres sink", found.rows],
    ["  different events", found.distinct],
    ["  duplicates", found.rows - found.distinct],
    ["  acknowledged and missing", found.missing.length === 0 ? 0 : `${found.missing.length}+: ${found.missing.join(" ")}`],
    ["records in onedata.outputs", found.outputs],
    ["  different events", found.distinctOutputs],
    ["left in the queue", found.queued],
    ["dead letters", found.deadLetters],
    ["batches taken again", found.repeatedAttempts],
  ];
  const left = found.left.map((row) => `left: ${row}\n`).join("");
  const deaths = found.deaths.map((row) => `died: ${row}\n`).join("");
  return `${left}${deaths}${lines.map(([what, count]) => `${what.padEnd(28)} ${String(count).padStart(8)}`).join("\n")}\n${found.isExact ? "EXACT" : "NOT EXACT"}`;
}
