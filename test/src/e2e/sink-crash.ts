/**
 * The load service dies, and its database session is ended, in the middle of a sink transaction: after its first statement and before its last.
 * A lock on the sink table holds the transaction there, so that "the middle" is certain.
 */
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type World } from "../world/world.ts";
import { type NumberedEvents, sendNumbered } from "./events.ts";
import { applyExactPipeline, compare, describeExactness, TABLE } from "./exactness.ts";
import type { E2eOptions, Outcome } from "./outcome.ts";

const DRAIN_MS = 90_000;
/** Longer than the longest backoff of a lane. */
const RECOVERY_MS = 90_000;

export async function sinkCrash(options: E2eOptions): Promise<Outcome> {
  await using world = await openWorld("cluster", { env: { ONEDATA_RESTART: "true" } });
  const path = await applyExactPipeline(world);
  const events = sendNumbered(() => world, path, Math.min(options.ratePerSecond, 200));
  try {
    for (let round = 0; round < 3; round++) {
      await inTheMiddle(world, events, async () => {
        const load = world.processes.find(({ name }) => name === "load")?.pid ?? 0;
        process.kill(load, "SIGKILL");
        // Its successor stands before the lock as well before this ends: two of one batch at once.
        await waitFor(
          "load up",
          async () => world.processes.find(({ name }) => name === "load")?.pid,
          (pid) => pid !== load,
          60_000,
        );
      });
      options.progress(`round ${round + 1}: load killed in the middle`);
      await inTheMiddle(world, events, () => terminateWriters(world));
      options.progress(`round ${round + 1}: session ended in the middle`);
    }
    await events.finish(DRAIN_MS);
    const found = await compare(world, events.acknowledged, DRAIN_MS);
    return { ok: found.isExact, text: `killed in the middle of a sink transaction: load 3 times, its session 3 times\n${describeExactness(found)}` };
  } finally {
    events.abandon();
  }
}

/** Runs `strike` while a sink transaction is certain to be between its first and its last statement. */
export async function inTheMiddle(world: World, events: Pick<NumberedEvents, "acknowledged">, strike: () => Promise<void>): Promise<void> {
  await world.warehouse.begin(async (lock) => {
    await lock.unsafe(`lock table ${TABLE} in exclusive mode`);
    const before = events.acknowledged.size;
    await waitFor(
      "a sink transaction that waits in its middle",
      async () => ({ waiting: await countWaitingWriters(world), more: events.acknowledged.size - before, ...(await describeState(world)) }),
      ({ waiting, more }) => waiting > 0 && more > 0,
      RECOVERY_MS,
    );
    await strike();
  });
  // What failed may wait out a backoff; the next strike is to meet a pipeline that works.
  const countRows = async (): Promise<number> =>
    Number((await world.warehouse.unsafe<{ n: number }[]>(`select count(*)::int n from ${TABLE}`))[0]?.n);
  const before = await countRows();
  await waitFor("delivering again", countRows, (rows) => rows > before, RECOVERY_MS);
}

/** Sessions that wait for the sink table, with the ledger row of their batch written already. */
async function countWaitingWriters(world: World): Promise<number> {
  const [row] = await world.platform<{ n: number }[]>`
    select count(*)::int n from pg_stat_activity a where a.datname = 'warehouse' and a.wait_event_type = 'Lock' and a.usename = 'warehouse' and a.backend_xid is not null`;
  return row?.n ?? 0;
}

/** For the message when there is none. */
async function describeState(world: World): Promise<object> {
  const lanes = await world.platform`
    select block_failures, round(extract(epoch from blocked_until - clock_timestamp())::numeric, 1)::float8 blocked_s, left(block_reason, 200) why
      from onedata.lanes where blocked_until is not null`;
  const sessions = await world.platform`
    select state, wait_event_type, wait_event, left(query, 60) query from pg_stat_activity where datname = 'warehouse' and usename = 'warehouse'`;
  return { lanes, sessions };
}

export async function terminateWriters(world: World): Promise<void> {
  await world.platform`
    select pg_terminate_backend(pid) from pg_stat_activity where datname = 'warehouse' and wait_event_type = 'Lock' and usename = 'warehouse'`;
}
