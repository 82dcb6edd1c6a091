/** `kill -9` of engine, transform, gateway and load in turn under load; afterwards acknowledged = delivered, and nothing twice. */
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type World } from "../world/world.ts";
import { type NumberedEvents, sendNumbered } from "./events.ts";
import { applyExactPipeline, compare, describeExactness } from "./exactness.ts";
import { createRandom, type E2eOptions, type Outcome, sleep } from "./outcome.ts";

const TURN = ["engine", "transform", "gateway", "load"];
const DRAIN_MS = 120_000;
const LEAST_PAUSE_MS = 200;

export async function crash(options: E2eOptions): Promise<Outcome> {
  await using world = await openWorld("cluster", { env: { ONEDATA_RESTART: "true" } });
  const path = await applyExactPipeline(world);
  const events = sendNumbered(() => world, path, options.ratePerSecond);
  try {
    await waitFor(
      "under way",
      async () => events.acknowledged.size,
      (count) => count > options.ratePerSecond,
    );
    const killed = await killInTurn(world, options, events);
    await events.finish(DRAIN_MS);
    const found = await compare(world, events.acknowledged, DRAIN_MS);
    const ownEnds = countOwnEnds(world, killed);
    const kills = [...killed].map(([name, count]) => `${name} ${count}`).join(", ");
    return {
      ok: found.isExact && events.refusals.length === 0,
      text: [
        `killed: ${kills}; seed ${options.seed}; ${options.ratePerSecond}/s; tries that failed and were repeated: ${events.retries}`,
        ...(ownEnds === "" ? [] : [`ended by themselves and were started again: ${ownEnds}`]),
        describeExactness(found),
        ...events.refusals.map((refusal) => `refused: ${refusal}`),
      ].join("\n"),
    };
  } finally {
    events.abandon();
  }
}

async function killInTurn(world: World, options: E2eOptions, events: NumberedEvents): Promise<Map<string, number>> {
  const random = createRandom(options.seed);
  const turn = options.withPostgres ? [...TURN, "postgres"] : TURN;
  const killed = new Map<string, number>();
  const lastPid = new Map<string, number>();
  const pauseMs = Math.max(LEAST_PAUSE_MS, (options.seconds * 1000) / options.kills);
  for (let i = 0; i < options.kills; i++) {
    const nextMs = performance.now() + pauseMs * (0.5 + random());
    const name = turn[i % turn.length] ?? "";
    if (name === "postgres") await killBackend(world);
    else {
      // Up again after its last turn; then it is hit wherever it happens to be.
      const pid = await waitFor(
        `${name} up`,
        async () => world.processes.find((process) => process.name === name)?.pid,
        (found) => found !== undefined && found !== lastPid.get(name) && strike(found),
        60_000,
      );
      if (pid !== undefined) lastPid.set(name, pid);
    }
    killed.set(name, (killed.get(name) ?? 0) + 1);
    options.progress(`kill ${i + 1}/${options.kills}: ${name}; sent ${events.sent}, acknowledged ${events.acknowledged.size}`);
    await sleep(nextMs - performance.now());
  }
  return killed;
}

/** Answers whether there was a process to kill: another may have ended by itself and be on its way up again. */
function strike(pid: number): boolean {
  try {
    return process.kill(pid, "SIGKILL");
  } catch {
    return false;
  }
}

/** Starts that no kill of ours explains: processes that could not live without another one. */
function countOwnEnds(world: World, killed: ReadonlyMap<string, number>): string {
  const ends = world.processes.map(({ name }): [string, number] => {
    const starts = world.output().match(new RegExp(`^ {2}${name} +pid `, "gm"))?.length ?? 0;
    return [name, starts - 1 - (killed.get(name) ?? 0)];
  });
  return ends
    .filter(([, count]) => count > 0)
    .map(([name, count]) => `${name} ${count}`)
    .join(", ");
}

/** One backend killed the hard way: the server ends all the others and recovers from its log. */
async function killBackend(world: World): Promise<void> {
  const [row] = await world.platform<{ pid: number }[]>`
    select pid from pg_stat_activity where application_name like 'onedata-engine%' or application_name like 'onedata-gateway%' order by random() limit 1`;
  if (row !== undefined) process.kill(row.pid, "SIGKILL");
}
