/**
 * A broker that dies, freezes, loses its store, and never comes back, under load: nothing lost, nothing done twice, and how long events took meanwhile.
 * On the KubeMQ double (a process of its own) and on the real NATS, with two engines.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { table } from "../bench/report.ts";
import { BROKER_KINDS, type BrokerKind, type BrokerServer, openBrokerServer, whyNot } from "../world/broker-server.ts";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type World } from "../world/world.ts";
import { type NumberedEvents, sendNumbered } from "./events.ts";
import { applyExactPipeline, compare, describeExactness, type Exactness } from "./exactness.ts";
import { type E2eOptions, type Outcome, sleep } from "./outcome.ts";

const DRAIN_MS = 120_000;
const IDLE_RATE = 5;
/** Of fifty events this is the latest. Found by the poll of a second, it would be near a second; on a machine that does other things too it may be missed. */
const IDLE_P99_MS = 250;
const DOWN_P99_MS = 3_000;
/** Of a broker that is killed or gone for good, and of load beside one that works. */
const PHASE_MS = 10_000;
/** What is logged of one change of state; more, and an outage would fill a disk. */
const LINES_PER_CHANGE = 12;

export type BrokerCase = Pick<E2eOptions, "ratePerSecond" | "freezeSeconds" | "progress"> & { readonly phaseMs?: number };

export async function broker(options: E2eOptions): Promise<Outcome> {
  const outcomes: Outcome[] = [];
  for (const kind of BROKER_KINDS) {
    const why = whyNot(kind);
    outcomes.push(
      why === undefined ? await withBroker(kind, { ...options, ratePerSecond: Math.min(options.ratePerSecond, 500) }) : { ok: true, text: why },
    );
  }
  return { ok: outcomes.every(({ ok }) => ok), text: outcomes.map(({ text }) => text).join("\n\n") };
}

type Phase = {
  readonly name: string;
  readonly fromMs: number;
  readonly untilMs: number;
  readonly mostMs: number | undefined;
  readonly state: string;
};

export async function withBroker(kind: BrokerKind, options: BrokerCase): Promise<Outcome> {
  await using server = await openBrokerServer(kind);
  await using world = await openWorld("cluster", { env: { ONEDATA_BROKER: server.url, ONEDATA_ENGINES: "2" } });
  const path = await applyExactPipeline(world);
  let rate = IDLE_RATE;
  const events = sendNumbered(
    () => world,
    path,
    () => rate,
  );
  try {
    const phases: Phase[] = [];
    const during = async (name: string, mostMs: number | undefined, ms: number): Promise<void> => {
      const fromMs = Date.now();
      await sleep(ms);
      phases.push({ name, fromMs, untilMs: Date.now(), mostMs, state: await readState(world) });
      options.progress(`${kind}: ${name}; acknowledged ${events.acknowledged.size}`);
    };
    const phaseMs = options.phaseMs ?? PHASE_MS;
    await untilState(world, "up");
    // Whatever the first events had to warm up is not the broker's.
    await during("warm-up", undefined, phaseMs / 2);
    await during(`up, ${IDLE_RATE}/s`, IDLE_P99_MS, phaseMs);
    rate = options.ratePerSecond;
    await during("up, loaded", DOWN_P99_MS, phaseMs);
    await strike(server, during, { ...options, phaseMs });
    const found = await finish(world, events);
    const rows = await describePhases(world, events, phases);
    const lines = countLogLines(world);
    const slow = rows.filter(({ isSlow }) => isSlow).map(({ cells: [name] }) => `too slow: ${name}`);
    const loud = lines > LINES_PER_CHANGE * phases.length ? [`too many lines in the engines' logs name the broker: ${lines}`] : [];
    return {
      ok: found.isExact && slow.length === 0 && loud.length === 0 && events.refusals.length === 0,
      text: [
        `${kind}: ${options.ratePerSecond}/s, two engines; tries that failed and were repeated: ${events.retries}`,
        table([["phase", "events", "p50 ms", "p99 ms", "max ms", "runs by what woke them", "engines say"], ...rows.map(({ cells }) => cells)]),
        `lines in the engines' logs that name the broker: ${lines}`,
        describeExactness(found),
        ...slow,
        ...loud,
        ...events.refusals,
      ].join("\n"),
    };
  } finally {
    server.thaw();
    events.abandon();
  }
}

type During = (name: string, mostMs: number | undefined, ms: number) => Promise<void>;

async function strike(
  server: BrokerServer,
  during: During,
  { freezeSeconds, phaseMs }: { readonly freezeSeconds: number; readonly phaseMs: number },
): Promise<void> {
  await server.kill();
  await during("killed", DOWN_P99_MS, phaseMs);
  await server.start();
  await during("back", DOWN_P99_MS, phaseMs);
  server.freeze();
  await during(`frozen ${freezeSeconds} s`, DOWN_P99_MS, freezeSeconds * 1000);
  server.thaw();
  await during("thawed", DOWN_P99_MS, phaseMs);
  await server.wipe();
  await during("wiped", DOWN_P99_MS, phaseMs);
  await server.kill();
  await during("gone for good", DOWN_P99_MS, phaseMs);
}

async function finish(world: World, events: NumberedEvents): Promise<Exactness> {
  await events.finish(DRAIN_MS);
  return compare(world, events.acknowledged, DRAIN_MS);
}

const readState = async (world: World): Promise<string> => {
  const rows = await world.platform<{ state: string | null }[]>`
    select distinct split_part(coalesce(broker_state, 'nothing'), ':', 1) as state from onedata.engines where alive_until > clock_timestamp() order by 1`;
  return rows.map(({ state }) => state).join(", ");
};

export const untilState = (world: World, state: string): Promise<string> =>
  waitFor(
    `${state} for all engines`,
    () => readState(world),
    (read) => read === state,
    30_000,
  );

type Row = { readonly cells: readonly string[]; readonly isSlow: boolean };

/** By when events were due; a run belongs to the phase in which it began. */
async function describePhases(world: World, events: NumberedEvents, phases: readonly Phase[]): Promise<readonly Row[]> {
  const done = await world.platform<{ n: number; ended_ms: number }[]>`
    select (e.payload::json->>'n')::int as n, extract(epoch from max(r.ended_at))::float8 * 1000 as ended_ms
      from onedata.events e join onedata.runs r on r.batch_id = e.batch_id and get_byte(r.verdicts, e.n) <> 0 group by 1`;
  const endedMs = new Map(done.map(({ n, ended_ms }) => [n, ended_ms]));
  const runs = await world.platform<{ at_ms: number; by: string }[]>`
    select extract(epoch from min(started_at))::float8 * 1000 as at_ms, min(woken_by) as by from onedata.runs group by run_id`;
  return phases.map(({ name, fromMs, untilMs, mostMs, state }) => {
    const delays = [...events.dueMs]
      .filter(([, due]) => due >= fromMs && due < untilMs)
      .map(([n, due]) => (endedMs.get(n) ?? Number.POSITIVE_INFINITY) - due);
    delays.sort((a, b) => a - b);
    const at = (share: number): number => delays[Math.min(delays.length - 1, Math.floor(share * delays.length))] ?? 0;
    const woken = new Map<string, number>();
    for (const { at_ms, by } of runs) if (at_ms >= fromMs && at_ms < untilMs) woken.set(by, (woken.get(by) ?? 0) + 1);
    const shares = [...woken].sort(([, a], [, b]) => b - a).map(([by, count]) => `${by} ${count}`);
    return {
      cells: [name, String(delays.length), ...[at(0.5), at(0.99), at(1)].map((ms) => String(Math.round(ms))), shares.join(", "), state],
      isSlow: mostMs !== undefined && at(0.99) > mostMs,
    };
  });
}

function countLogLines(world: World): number {
  const folder = join(world.home, "logs");
  const files = readdirSync(folder).filter((file) => file.startsWith("engine"));
  return files.reduce(
    (sum, file) =>
      sum +
      readFileSync(join(folder, file), "utf8")
        .split("\n")
        .filter((line) => line.includes("broker")).length,
    0,
  );
}
