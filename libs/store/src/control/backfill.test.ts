/** Backfills over the real tables, with the smallest engine that keeps the rules: an event is delivered from the version on that its payload names, and dies before. */
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { startBackfill } from "./backfill.ts";
import { stepJobs } from "./jobs-testing.ts";
import { actor, many, openJobsWorld, replay } from "./jobs-world.ts";
import { startReplay } from "./replay.ts";

const world = await openJobsWorld();
const { store, engine, pipeline, capture, activate, drive } = world;
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(() => world.clear());

describe("a backfill", () => {
  const options = { version: 0, eventsPerSecond: 0, reason: "", verdict: undefined, until: undefined, dryRun: false } as const;

  it("runs a time range again under its own generation; later replays of what died keep it", async () => {
    const target = await pipeline();
    await capture(target, [...many(90, 1), ...many(60, 2)]);
    await engine.drain();
    const [clock] = await store.sql<{ now: Date }[]>`select clock_timestamp() as now`;
    const until = new Date((clock?.now.getTime() ?? 0) + 1);
    await store.sql`select pg_sleep(0.005)`;
    await capture(target, many(7, 1));
    await engine.drain();
    const since = new Date(Date.now() - 3_600_000);
    const start = (extra: Partial<Parameters<typeof startBackfill>[3]>) =>
      startBackfill(store.sql, target.tenantId, actor, { ...options, pipeline: target.name, since, ...extra });
    expect(await start({ dryRun: true })).toMatchObject({ id: 0n, total: 157, kind: "backfill" });
    expect(await start({ dryRun: true, verdict: "dead" })).toMatchObject({ total: 60 });
    expect(await start({ dryRun: true, verdict: "delivered", until })).toMatchObject({ total: 90 });
    // Far beyond what an id can hold.
    expect(await start({ dryRun: true, until: new Date("9999-12-31"), since: new Date("0001-01-01") })).toMatchObject({ total: 157 });
    expect(await start({ dryRun: true, until: new Date("9999-12-31"), since: new Date("9000-01-01") })).toMatchObject({ total: 0 });
    await expect(start({ version: 4_000_000_000 })).rejects.toMatchObject({ code: "version.not_found" });
    await expect(start({ until: since })).rejects.toMatchObject({ code: "request.invalid" });
    const job = await start({ until });
    expect(await drive(target, job)).toMatchObject({ state: "done", total: 150, generation: 1, delivered: 90, dead: 60 });
    expect(engine.last(target.pipelineId)).toMatchObject({ generation: 1 });
    await activate(target, 2);
    const dead = await startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { pipeline: target.name } });
    // Each event died twice, once per generation.
    expect(await drive(target, dead)).toMatchObject({ total: 120, delivered: 120 });
    expect(engine.deliveries(target.pipelineId)).toEqual({ events: 307, most: 1 });
    expect(await drive(target, await start({ until, verdict: "delivered", version: 3 }))).toMatchObject({
      total: 150,
      delivered: 150,
      generation: 2,
    });
  });

  it("says which batches retention has to keep while it is open", async () => {
    const target = await pipeline();
    const events = await capture(target, many(250, 1));
    await engine.drain();
    const batches = [...new Set(events.map(({ batchId }) => batchId))];
    const kept = async (): Promise<bigint[]> => {
      const rows = await store.sql<{ batch_id: bigint }[]>`select batch_id from onedata.referenced_batches(0, 9223372036854775807) order by 1`;
      return rows.map((row) => row.batch_id);
    };
    expect(await kept()).toEqual([]);
    const job = await startBackfill(store.sql, target.tenantId, actor, { ...options, pipeline: target.name, since: new Date(0) });
    expect(await kept()).toEqual(batches);
    await stepJobs(store.sql);
    expect(await kept()).toEqual(batches);
    await stepJobs(store.sql);
    expect(await kept()).toEqual(batches);
    await drive(target, job);
    expect(await kept()).toEqual([]);
  });
});
