/**
 * Processes that stop (SIGSTOP) inside a sink transaction for three leases and then go on as if nothing had been: others have taken their runs over meanwhile.
 * With load stopped the transaction itself stays open, and its successor meets its ledger row.
 */
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type World } from "../world/world.ts";
import { sendNumbered } from "./events.ts";
import { applyExactPipeline, compare, describeExactness } from "./exactness.ts";
import type { E2eOptions, Outcome } from "./outcome.ts";
import { inTheMiddle } from "./sink-crash.ts";

const LEASE_MS = 3_000;
const LEASES = 3;
const DRAIN_MS = 120_000;
const ROUNDS: readonly (readonly string[])[] = [["engine"], ["engine-2"], ["engine", "load"], ["engine-2", "load"], ["engine", "engine-2", "load"]];

export async function stall(options: E2eOptions): Promise<Outcome> {
  await using world = await openWorld("cluster", { env: { ONEDATA_ENGINES: "2", ONEDATA_LEASE_MS: String(LEASE_MS) } });
  const path = await applyExactPipeline(world);
  const events = sendNumbered(() => world, path, Math.min(options.ratePerSecond, 100));
  const stopped = new Set<number>();
  try {
    for (const names of ROUNDS) {
      let going: Promise<void> = Promise.resolve();
      await inTheMiddle(world, events, async () => {
        const pids = names.map((name) => world.processes.find((process) => process.name === name)?.pid ?? 0);
        for (const pid of pids) {
          process.kill(pid, "SIGSTOP");
          stopped.add(pid);
        }
        going = afterLeases(world).then(() => {
          for (const pid of pids) {
            process.kill(pid, "SIGCONT");
            stopped.delete(pid);
          }
        });
      });
      await going;
      options.progress(`${names.join(" and ")} stopped in the middle for ${LEASES} leases, then continued`);
    }
    await events.finish(DRAIN_MS);
    const found = await compare(world, events.acknowledged, DRAIN_MS);
    return { ok: found.isExact, text: `stopped for ${LEASES} leases inside a sink transaction, ${ROUNDS.length} times\n${describeExactness(found)}` };
  } finally {
    events.abandon();
    // A stopped process cannot stop.
    for (const pid of stopped) process.kill(pid, "SIGCONT");
  }
}

/** Three leases by the database's clock. */
async function afterLeases(world: World): Promise<void> {
  const [from] = await world.platform<{ at: Date }[]>`select clock_timestamp() as at`;
  await waitFor(
    "three leases",
    async () =>
      (await world.platform<{ ms: number }[]>`select extract(epoch from clock_timestamp() - ${from?.at ?? new Date()})::float8 * 1000 as ms`)[0]
        ?.ms ?? 0,
    (ms) => ms > LEASES * LEASE_MS,
    10 * LEASES * LEASE_MS,
  );
}
