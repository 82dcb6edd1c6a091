/** Crash, stall or lose the connections at every await point, then recover: every event ends in exactly one verdict, every effect stands exactly once, every ledger agrees. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isConnectionLost } from "../connection.ts";
import { Crash, type Kind, perform } from "./model-engine.ts";
import { admin, captureLayout, check, ENGINES, expireAll, LAYOUT, type Layout, stores, useTwoEngines } from "./two-engines.ts";

type Interrupt = { readonly at: number; readonly how: "crash" | "stall" | "cut" };
type Episode = { readonly engine: 0 | 1; readonly interrupt: Interrupt | undefined; readonly expire: boolean };

useTwoEngines();

/** Counts the await points of an engine and interrupts it at one of them. */
function createPoints(interrupt: Interrupt | undefined, cut: () => Promise<void>) {
  let count = 0;
  let stall = (): void => undefined;
  let go = (): void => undefined;
  const stalled = new Promise<"stalled">((settle) => (stall = () => settle("stalled")));
  const resumed = new Promise<void>((settle) => (go = settle));
  return {
    stalled,
    resume: () => go(),
    count: () => count,
    point: async (): Promise<void> => {
      count += 1;
      if (interrupt?.at !== count) return;
      if (interrupt.how === "crash") throw new Crash();
      if (interrupt.how === "cut") return cut();
      stall();
      await resumed;
    },
  };
}

async function playEpisode({ engine, interrupt, expire }: Episode): Promise<number> {
  const points = createPoints(interrupt, () => cutConnections(engine));
  const running = perform(stores[engine], ENGINES[engine], points.point).catch((error: unknown) => {
    if (!(error instanceof Crash || isConnectionLost(error))) throw error;
  });
  if ((await Promise.race([running, points.stalled])) === "stalled") {
    await expireAll();
    const other = engine === 0 ? 1 : 0;
    // The successor works while the stalled engine may hold a ledger row in its open transaction: it waits there until that ends.
    // An episode before may have cut a connection of it, which it learns from the statement that it loses.
    const successor = perform(stores[other], ENGINES[other], () => Promise.resolve()).catch((error: unknown) => {
      if (!isConnectionLost(error)) throw error;
    });
    await Promise.race([successor, waitsForLock()]);
    points.resume();
    await Promise.all([running, successor]);
  }
  if (expire) await expireAll();
  return points.count();
}

/** Ends all connections of one engine at the server: its next statement fails, or goes over a new connection and meets its own traces. */
async function cutConnections(engine: 0 | 1): Promise<void> {
  await admin.sql`select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and application_name like ${`engine-${engine}%`}`;
}

/** Resolves when some statement waits for a lock: then only the stalled engine can let it go on. */
async function waitsForLock(): Promise<void> {
  for (let i = 0; i < 200; i++) {
    const [row] =
      await admin.sql`select count(*)::int as waiting from pg_locks l join pg_stat_activity a using (pid) where not l.granted and a.datname = current_database()`;
    if (row?.["waiting"] !== 0) return;
    await new Promise((wake) => setTimeout(wake, 10));
  }
}

async function play(layout: Layout, episodes: readonly Episode[]): Promise<number> {
  const store = admin;
  await store.sql`delete from onedata.queue`;
  const expected = await captureLayout(layout);
  let points = 0;
  for (const episode of episodes) points = await playEpisode(episode);
  await expireAll();
  const nothing = (): Promise<void> => Promise.resolve();
  for (let i = 0; i < 100 && (await store.sql`select 1 from onedata.queue limit 1`).length > 0; i++) {
    if (!(await perform(store, ENGINES[0], nothing))) await perform(store, ENGINES[0], nothing, true);
  }
  for (const [pipelineId, kinds] of expected) await check(pipelineId, kinds);
  return points;
}

describe("crash at every await point, then recover", () => {
  for (const how of ["crash", "stall", "cut"] as const) {
    it(`ends with the same results: ${how}`, async () => {
      const last = await play(LAYOUT, [{ engine: 0, interrupt: undefined, expire: false }]);
      expect(last).toBeGreaterThan(7);
      for (let at = 1; at <= last; at++)
        await play(LAYOUT, [
          { engine: 0, interrupt: { at, how }, expire: true },
          { engine: 1, interrupt: { at, how }, expire: false },
        ]);
    });
  }

  it("holds for any layout and any order of crashes, stalls and expiries", async () => {
    const kinds = <K extends Kind>(...all: K[]): fc.Arbitrary<K[]> => fc.array(fc.constantFrom(...all), { minLength: 1, maxLength: 5 });
    const layouts = fc.record({
      plain: fc.array(kinds("ok", "dead", "filter", "retry"), { maxLength: 4 }),
      ordered: fc.array(kinds("ok", "dead", "filter"), { maxLength: 6 }),
    });
    const episodes = fc.array(
      fc.record({
        engine: fc.constantFrom(0 as const, 1 as const),
        interrupt: fc.option(
          fc.record({ at: fc.integer({ min: 1, max: 11 }), how: fc.constantFrom("crash" as const, "stall" as const, "cut" as const) }),
          {
            nil: undefined,
          },
        ),
        expire: fc.boolean(),
      }),
      { maxLength: 6 },
    );
    await fc.assert(
      fc.asyncProperty(layouts, episodes, async (drawn, played) => void (await play(drawn, played))),
      { numRuns: 40 },
    );
  });
});
