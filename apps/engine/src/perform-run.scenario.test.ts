/** The real run dies or stalls at every await point, and others go on: every event ends in one verdict, every effect stands once. */
import { randomUUID } from "node:crypto";
import { claimRun, openStore, reclaim, registerEngine, type Store } from "@onedata/store";
import { ensureLedger } from "@onedata/store/ledger";
import { openTestDatabase, type TestDatabase, untilServerIsOld } from "@onedata/store/testing";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestService, type EngineWorld, openEngineWorld, planOf, type ServiceRules, type TestPipeline } from "./engine-world.ts";
import { createLedgerLoad, createPerformer, type Point } from "./perform-world.ts";

/** Values of records; the last digit says what becomes of one: 3 is filtered, 7 dies, 9 asks once to be tried later. */
type Layout = { readonly plain: readonly (readonly number[])[]; readonly ordered: readonly (readonly number[])[] };
type Interrupt = { readonly at: number; readonly how: "crash" | "stall" };
type Episode = { readonly engine: 0 | 1; readonly interrupt: Interrupt | undefined; readonly expire: boolean };

const LAYOUT: Layout = {
  plain: [
    [1, 7, 9],
    [3, 2],
  ],
  ordered: [[1, 2], [4, 7], [8]],
};
const ENGINES = [randomUUID(), randomUUID()] as const;

class Crash extends Error {}

let database: TestDatabase;
let world: EngineWorld;
let stores: readonly [Store, Store];
beforeAll(async () => {
  database = await openTestDatabase();
  world = await openEngineWorld(database);
  stores = [openStore(database.url, { applicationName: "engine-0" }), openStore(database.url, { applicationName: "engine-1" })];
  for (const incarnation of ENGINES) await registerEngine(world.store, { incarnation, slots: 2, leaseMs: 3_600_000 });
  await ensureLedger(world.store.sql);
  await world.store.sql`create table sink_rows (id bigint generated always as identity, pipeline text, v int)`;
  await untilServerIsOld(world.store);
});
afterAll(async () => {
  for (const store of stores) await store[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

/** Counts the points of one engine and of the services that work for it, and interrupts them at one. What has crashed sends nothing any more. */
function createPoints(interrupt: Interrupt | undefined) {
  let count = 0;
  let isDead = false;
  let stall = (): void => undefined;
  let resume = (): void => undefined;
  const stalled = new Promise<"stalled">((settle) => (stall = () => settle("stalled")));
  const resumed = new Promise<void>((settle) => (resume = settle));
  const point: Point = async () => {
    if (isDead) throw new Crash();
    count += 1;
    if (interrupt?.at !== count) return;
    if (interrupt.how === "crash") {
      isDead = true;
      throw new Crash();
    }
    stall();
    await resumed;
  };
  return { point, stalled, resume: () => resume(), count: () => count };
}

const perform = async (engine: 0 | 1, rules: ServiceRules, point?: Point, suspect = false): Promise<boolean> => {
  const { clients } = createTestService(rules);
  const load = createLedgerLoad(world.store, point);
  const options = { engine: ENGINES[engine], clients: { ...clients, load: () => load }, ...(point === undefined ? {} : { point }) };
  return createPerformer(stores[engine], options).perform(suspect);
};

/** What a dead engine held comes back: deadlines are backdated, nobody sleeps. */
async function expireAll(): Promise<void> {
  await world.store.sql`update onedata.queue set run_deadline = now() - interval '1 hour' where run_id is not null`;
  await reclaim(world.store);
}

async function skipWaits(): Promise<void> {
  await world.store.sql`update onedata.queue set available_at = null where run_id is null`;
  await world.store.sql`update onedata.lanes set blocked_until = null where blocked_until is not null`;
}

/** Returns at how many points it could have been interrupted. */
async function playEpisode({ engine, interrupt, expire }: Episode, rules: ServiceRules): Promise<number> {
  const points = createPoints(interrupt);
  await skipWaits();
  const running = perform(engine, rules, points.point).catch((error: unknown) => {
    if (!(error instanceof Crash)) throw error;
  });
  if ((await Promise.race([running, points.stalled])) === "stalled") {
    await expireAll();
    // It works while the stalled one may hold a row of the ledger in its open transaction: then it waits there until that ends.
    const other = engine === 0 ? 1 : 0;
    const successor = perform(other, rules);
    await Promise.race([successor, waitsForLock()]);
    // What the successor left is claimed once more, and held, when the stalled one moves again.
    await skipWaits();
    await claimRun(world.store, { runId: randomUUID(), owner: ENGINES[other], deadlineMs: 60_000 });
    points.resume();
    await Promise.all([running, successor]);
  }
  if (expire) await expireAll();
  return points.count();
}

async function waitsForLock(): Promise<void> {
  for (;;) {
    const [row] = await world.store.sql<{ waiting: number }[]>`
      select count(*)::int as waiting from pg_locks l join pg_stat_activity a using (pid) where not l.granted and a.datname = current_database()`;
    if (row?.waiting !== 0) return;
    await new Promise((wake) => setTimeout(wake, 10));
  }
}

async function play(layout: Layout, episodes: readonly Episode[]): Promise<number> {
  await world.store.sql`delete from onedata.queue`;
  await world.store.sql`truncate sink_rows`;
  const sinks = planOf().sinks.concat({ id: "table", kind: "x", service: "load", config: {}, configHash: "h", inputs: [0] });
  const plan = planOf({ sinks, route: "transform>load" });
  const [plain, ordered] = [await world.pipeline({ plan }), await world.pipeline({ plan, ordering: "key" })];
  const expected = new Map<TestPipeline, number[]>([
    [plain, layout.plain.flatMap((own, i) => own.map((v) => 100 * i + v))],
    [ordered, layout.ordered.flatMap((own, i) => own.map((v) => 100 * i + v))],
  ]);
  for (const [i, own] of layout.plain.entries()) await plain.capture(own.map((v) => 100 * i + v));
  for (const [i, own] of layout.ordered.entries())
    await ordered.capture(
      own.map((v) => 100 * i + v),
      { key: "a" },
    );
  const asked = new Set<number>();
  const rules: ServiceRules = {
    record: (v) => {
      if (v % 10 === 3) return "filtered";
      if (v % 10 === 7) return "failed";
      if (v % 10 !== 9 || asked.has(v)) return undefined;
      asked.add(v);
      return "later";
    },
  };
  let points = 0;
  for (const episode of episodes) points = await playEpisode(episode, rules);
  await expireAll();
  for (let i = 0; i < 100 && (await world.store.sql`select 1 from onedata.queue limit 1`).length > 0; i++) {
    await skipWaits();
    if (!(await perform(0, rules))) await perform(0, rules, undefined, true);
  }
  for (const [pipeline, values] of expected) await check(pipeline, values);
  const order = await world.store.sql<{ v: number }[]>`select v from sink_rows where pipeline = ${ordered.name} order by id`;
  expect(
    order.map(({ v }) => v),
    "order of the key",
  ).toEqual((expected.get(ordered) ?? []).filter(isDelivered));
  return points;
}

const isDelivered = (v: number): boolean => v % 10 !== 3 && v % 10 !== 7;

/** `verdict` bytes: 1 delivered, 2 dead, 16 filtered at the first step. */
async function check(pipeline: TestPipeline, values: readonly number[]): Promise<void> {
  const { sql } = world.store;
  expect(await pipeline.waiting(), "queue is empty").toBe(0);
  expect(
    await sql`select 1 from onedata.lane_runs r join onedata.lanes l on l.id = r.lane_id where l.pipeline_id = ${pipeline.pipelineId} and r.run_id is not null`,
    "lanes are free",
  ).toHaveLength(0);
  const verdicts = await sql<{ v: number; bytes: number[] | null }[]>`
    select (e.payload::json->>'v')::int as v,
           array_agg(get_byte(r.verdicts, e.n) order by r.attempt) filter (where octet_length(r.verdicts) > e.n and get_byte(r.verdicts, e.n) <> 0) as bytes
      from onedata.batches b join onedata.events e on e.batch_id = b.id left join onedata.runs r on r.batch_id = b.id
     where b.pipeline_id = ${pipeline.pipelineId} group by b.id, e.n, 1 order by 1`;
  const sorted = [...values].sort((a, b) => a - b);
  expect([...verdicts], "one verdict each").toEqual(sorted.map((v) => ({ v, bytes: [v % 10 === 3 ? 16 : v % 10 === 7 ? 2 : 1] })));
  const delivered = sorted.filter(isDelivered);
  const effects = await sql<{ v: number }[]>`select v from sink_rows where pipeline = ${pipeline.name} order by v`;
  expect(
    effects.map(({ v }) => v),
    "effects once",
  ).toEqual(delivered);
  expect(await pipeline.outputs(), "outputs once").toEqual(delivered);
  const letters = (await pipeline.letters()).map(({ payload }) => (JSON.parse(payload) as { v: number }).v);
  expect(
    letters.sort((a, b) => a - b),
    "dead letters once",
  ).toEqual(sorted.filter((v) => v % 10 === 7));
}

describe("a run that dies or stalls at any of its await points", () => {
  it.each(["crash", "stall"] as const)("ends with the same results: %s", async (how) => {
    const last = await play(LAYOUT, [{ engine: 0, interrupt: undefined, expire: false }]);
    expect(last).toBeGreaterThan(14);
    for (let at = 1; at <= last; at++) await play(LAYOUT, [{ engine: 0, interrupt: { at, how }, expire: true }]);
  });

  it("holds for any layout and any order of crashes, stalls and expiries", async () => {
    const batches = fc.array(fc.array(fc.constantFrom(1, 3, 7, 9), { minLength: 1, maxLength: 4 }), { maxLength: 3 });
    const inOrder = fc.array(fc.array(fc.constantFrom(1, 3, 7), { minLength: 1, maxLength: 4 }), { maxLength: 4 });
    const interrupts = fc.record({ at: fc.integer({ min: 1, max: 20 }), how: fc.constantFrom("crash" as const, "stall" as const) });
    const episodes = fc.array(
      fc.record({ engine: fc.constantFrom(0 as const, 1 as const), interrupt: fc.option(interrupts, { nil: undefined }), expire: fc.boolean() }),
      { maxLength: 4 },
    );
    // Values are told apart by their place: 100 per batch, 10 per record.
    const apart = (list: readonly (readonly number[])[]) => list.map((own) => own.map((v, i) => 10 * i + v));
    await fc.assert(
      fc.asyncProperty(batches, inOrder, episodes, async (plain, ordered, played) => {
        await play({ plain: apart(plain), ordered: apart(ordered) }, played);
      }),
      { numRuns: 10 },
    );
  });
});
