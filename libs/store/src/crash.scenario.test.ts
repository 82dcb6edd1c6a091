/**
 * Crash, stall or lose the connections at every await point, then recover: every event ends in exactly one verdict, every effect stands exactly once, every ledger agrees.
 * The engine here is the smallest one that keeps the rules: claim, load, sink transaction behind the ledger, completion behind the fence.
 */
import { randomUUID } from "node:crypto";
import { type BatchId, type LaneId, type PipelineId } from "@onedata/core";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { captureGroup } from "./capture.ts";
import type { CaptureTarget } from "./capture-batches.ts";
import { type ClaimedBatch, type ClaimedRun, claimRun } from "./claim.ts";
import { type CompletedBatch, completeRun } from "./complete.ts";
import { isConnectionLost, openStore, type Store } from "./connection.ts";
import { type LoadedEvent, loadEvents } from "./events.ts";
import { reclaim, registerEngine } from "./lease.ts";
import { claimLedger, ensureLedger, type LedgerClaim, readLedger } from "./ledger.ts";
import { releaseRun } from "./release.ts";
import { createTestPipeline, createTestTenant, openTestDatabase, type TestDatabase } from "./testing.ts";

type Kind = "ok" | "dead" | "filter" | "retry";
type Interrupt = { readonly at: number; readonly how: "crash" | "stall" | "cut" };
type Episode = { readonly engine: 0 | 1; readonly interrupt: Interrupt | undefined; readonly expire: boolean };
type Layout = { readonly plain: readonly (readonly Kind[])[]; readonly ordered: readonly (readonly Exclude<Kind, "retry">[])[] };

const INSTALLATION = randomUUID();
const ENGINES = [randomUUID(), randomUUID()] as const;
const BYTE: Record<Kind, number> = { ok: 1, retry: 1, dead: 2, filter: 16 };
const ORDERED_KEYS = ["a", "customer-42"];

class Crash extends Error {}

let database: TestDatabase;
let stores: readonly [Store, Store];
/** Outside the engines: never crashes. */
let admin: Store;
let tenantId: CaptureTarget["tenantId"];

beforeAll(async () => {
  database = await openTestDatabase();
  admin = openStore(database.url);
  stores = [openStore(database.url, { applicationName: "engine-0" }), openStore(database.url, { applicationName: "engine-1" })];
  tenantId = await createTestTenant(admin.sql);
  for (const incarnation of ENGINES) await registerEngine(admin, { incarnation, slots: 2, leaseMs: 3_600_000 });
  await ensureLedger(admin.sql);
  await admin.sql`create table sink_rows (id bigint generated always as identity, pipeline_id bigint, key text, position int)`;
  // Deadlines count from the server's start at the earliest.
  await vi.waitFor(
    async () =>
      expect((await admin.sql`select pg_postmaster_start_time() + interval '10 seconds' < clock_timestamp() as old`)[0]?.["old"]).toBe(true),
    { timeout: 20_000, interval: 200 },
  );
});
afterAll(async () => {
  for (const store of [...stores, admin]) await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

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

type Payload = { readonly kind: Kind; readonly position: number };
const parse = (event: LoadedEvent): Payload => JSON.parse(event.payload) as Payload;

async function perform(store: Store, engine: string, point: () => Promise<void>, suspect = false): Promise<boolean> {
  const runId = randomUUID();
  await point();
  const { run } = await claimRun(store, { runId, owner: engine, deadlineMs: 60_000, maxEvents: 40, suspect });
  await point();
  if (run === undefined) return false;
  const events = await loadEvents(store, run.batches);
  await point();
  await writeSink(store, run, events, point);
  await point();
  await completeRun(store, {
    runId,
    engine,
    wokenBy: "test",
    durationMs: 1,
    batches: run.batches.map((batch) => toCompleted(batch, pending(batch, events))),
  });
  await point();
  return true;
}

const pending = (batch: ClaimedBatch, events: Map<BatchId, LoadedEvent[]>): LoadedEvent[] => {
  const left = batch.progress === undefined ? undefined : new Set(batch.progress.map(({ n }) => n));
  return (events.get(batch.batchId) ?? []).filter(({ n }) => left === undefined || left.has(n));
};
/** A record that asks for a retry does so once. */
const waits = (batch: ClaimedBatch, event: LoadedEvent): boolean => parse(event).kind === "retry" && batch.progress === undefined;

async function writeSink(store: Store, run: ClaimedRun, events: Map<BatchId, LoadedEvent[]>, point: () => Promise<void>): Promise<void> {
  const final = (batch: ClaimedBatch): LoadedEvent[] =>
    pending(batch, events).filter((event) => parse(event).kind !== "dead" && !waits(batch, event));
  let claims: readonly LedgerClaim[] = run.batches.map((batch) => ({
    batchId: batch.batchId,
    generation: batch.generation,
    sink: `${batch.pipelineId}/0`,
    ordinals: final(batch).map(({ n }) => n),
  }));
  for (let attempt = 0; attempt < 3; attempt++) {
    const wanted = claims;
    const overlaps = await store.sql
      .begin(async (transaction) => {
        await point();
        const overlapping = await claimLedger(transaction, INSTALLATION, wanted);
        await point();
        if (overlapping.length > 0) {
          await transaction`select 1`;
          throw overlapping;
        }
        // seq order over batches of a lane, ordinal order within
        for (const batch of [...run.batches].sort((a, b) => Number(a.seq - b.seq))) {
          const ordinals = new Set(wanted.find(({ batchId }) => batchId === batch.batchId)?.ordinals);
          for (const event of final(batch)) {
            const { kind, position } = parse(event);
            if (ordinals.has(event.n) && kind !== "filter")
              await transaction`insert into sink_rows (pipeline_id, key, position) values (${batch.pipelineId}, ${event.orderingKey ?? null}, ${position})`;
          }
        }
        await point();
        return undefined;
      })
      .catch((error: unknown) => {
        if (Array.isArray(error)) return error as LedgerClaim[];
        throw error;
      });
    if (overlaps === undefined) return;
    await point();
    claims = await readLedger(store.sql, INSTALLATION, claims);
  }
  throw new Error("the ledger never agreed");
}

function toCompleted(batch: ClaimedBatch, events: readonly LoadedEvent[]): CompletedBatch {
  const verdicts = new Uint8Array(Math.max(...events.map(({ n }) => n), 0) + 1);
  const counts = { delivered: 0, filtered: 0, dead: 0 };
  const left = events.filter((event) => waits(batch, event));
  const final = events.filter((event) => !waits(batch, event));
  for (const event of final) {
    const { kind } = parse(event);
    verdicts[event.n] = BYTE[kind];
    counts[kind === "dead" ? "dead" : kind === "filter" ? "filtered" : "delivered"] += 1;
  }
  const delivered = final.filter((event) => ["ok", "retry"].includes(parse(event).kind));
  return {
    ...batch,
    orderedLaneId: batch.ordered ? batch.laneId : undefined,
    verdicts,
    counts,
    ...(left.length === 0 ? {} : { left: { progress: left.map(({ n }) => ({ n, tries: 1, sinksDone: [] })), bytes: 10, delayMs: 0 } }),
    deadLetters: final
      .filter((event) => parse(event).kind === "dead")
      .map(({ n, payload }) => ({ n, step: "s", code: "record.invalid", fingerprint: "f", message: "m", payload })),
    outputs: [{ sink: 0, ordinals: delivered.map(({ n }) => n), payloads: delivered.map(({ payload }) => payload) }],
  };
}

/** What a dead engine held comes back: its rows are backdated, nobody sleeps. */
async function expireAll(): Promise<void> {
  await admin.sql`update onedata.queue set run_deadline = now() - interval '1 hour' where run_id is not null`;
  await reclaim(admin);
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
    const successor = perform(stores[other], ENGINES[other], () => Promise.resolve());
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

async function captureLayout(layout: Layout): Promise<Map<PipelineId, Kind[]>> {
  const store = admin;
  const plain = await createTestPipeline(store.sql, { tenantId });
  const ordered = await createTestPipeline(store.sql, { tenantId, ordering: "key" });
  const expected = new Map<PipelineId, Kind[]>([
    [plain.pipelineId, []],
    [ordered.pipelineId, []],
  ]);
  const send = async (pipelineId: PipelineId, kinds: readonly Kind[], orderingKey: string | undefined): Promise<void> => {
    const list = expected.get(pipelineId) ?? [];
    const events = kinds.map((kind) => ({
      payload: JSON.stringify({ kind, position: list.push(kind) - 1 }),
      ...(orderingKey === undefined ? {} : { orderingKey }),
    }));
    const target: CaptureTarget = { tenantId, pipelineId, version: 1, laneClass: "live", ordered: orderingKey !== undefined };
    const outcomes = await captureGroup(store, [{ target, events }]);
    expect(outcomes.flat().every(({ kind }) => kind === "captured")).toBe(true);
  };
  for (const kinds of layout.plain) await send(plain.pipelineId, kinds, undefined);
  for (const [i, kinds] of layout.ordered.entries()) await send(ordered.pipelineId, kinds, ORDERED_KEYS[i % ORDERED_KEYS.length]);
  return expected;
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

async function check(pipelineId: PipelineId, kinds: readonly Kind[]): Promise<void> {
  const { sql } = admin;
  const positions = (wanted: readonly Kind[]): number[] => kinds.flatMap((kind, i) => (wanted.includes(kind) ? [i] : []));
  const numbers = (rows: readonly Record<string, unknown>[]): unknown[] => rows.map((row) => row["position"]);
  expect(
    await sql`select 1 from onedata.queue q join onedata.lanes l on l.id = q.lane_id where l.pipeline_id = ${pipelineId}`,
    "queue is empty",
  ).toHaveLength(0);
  expect(await sql`select id from onedata.lanes where pipeline_id = ${pipelineId} and run_id is not null`, "lanes are free").toHaveLength(0);
  const verdicts = await sql<{ position: number; bytes: number[] }[]>`
    select (e.payload::json->>'position')::int as position, array_agg(get_byte(r.verdicts, e.n) order by r.attempt) filter (where octet_length(r.verdicts) > e.n and get_byte(r.verdicts, e.n) <> 0) as bytes
      from onedata.batches b join onedata.events e on e.batch_id = b.id left join onedata.runs r on r.batch_id = b.id where b.pipeline_id = ${pipelineId} group by 1 order by 1`;
  expect(
    verdicts.map(({ bytes }) => bytes),
    "one verdict each",
  ).toEqual(kinds.map((kind) => [BYTE[kind]]));
  expect(numbers(await sql`select position from sink_rows where pipeline_id = ${pipelineId} order by position`), "effects once").toEqual(
    positions(["ok", "retry"]),
  );
  expect(
    numbers(await sql`select (payload::json->>'position')::int as position from onedata.dead_letters where pipeline_id = ${pipelineId} order by 1`),
    "dead letters once",
  ).toEqual(positions(["dead"]));
  const outputs =
    await sql`select (p::json->>'position')::int as position from onedata.outputs o, string_to_table(o.payloads, E'\x1e') p where o.pipeline_id = ${pipelineId} order by 1`;
  expect(numbers(outputs), "outputs once").toEqual(positions(["ok", "retry"]));
  const ledger = await sql`
    select (e.payload::json->>'position')::int as position from onedata.batches b join onedata.events e on e.batch_id = b.id
      join onedata_applied a on a.installation = ${INSTALLATION} and a.batch_id = b.id and a.done @> e.n where b.pipeline_id = ${pipelineId} order by 1`;
  expect(numbers(ledger), "the ledger agrees").toEqual(positions(["ok", "retry", "filter"]));
  for (const key of ORDERED_KEYS) {
    const order = numbers(await sql`select position from sink_rows where pipeline_id = ${pipelineId} and key = ${key} order by id`);
    expect(order, `order of key ${key}`).toEqual([...order].sort((a, b) => Number(a) - Number(b)));
  }
}

const layout: Layout = {
  plain: [["ok", "dead", "retry"], ["filter", "ok"], ["retry"]],
  ordered: [["ok", "ok"], ["ok", "dead"], ["ok", "filter", "ok"], ["ok"]],
};

describe("crash at every await point, then recover", () => {
  for (const how of ["crash", "stall", "cut"] as const) {
    it(`ends with the same results: ${how}`, async () => {
      const last = await play(layout, [{ engine: 0, interrupt: undefined, expire: false }]);
      expect(last).toBeGreaterThan(7);
      for (let at = 1; at <= last; at++)
        await play(layout, [
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
          fc.record({ at: fc.integer({ min: 1, max: 10 }), how: fc.constantFrom("crash" as const, "stall" as const, "cut" as const) }),
          {
            nil: undefined,
          },
        ),
        expire: fc.boolean(),
      }),
      { maxLength: 5 },
    );
    await fc.assert(
      fc.asyncProperty(layouts, episodes, async (drawn, played) => void (await play(drawn, played))),
      { numRuns: 40 },
    );
  });

  it("gives back on release what the next claim takes, once", async () => {
    await admin.sql`delete from onedata.queue`;
    const expected = await captureLayout(layout);
    const { run } = await claimRun(stores[0], { runId: randomUUID(), owner: ENGINES[0], deadlineMs: 60_000 });
    expect(run).toBeDefined();
    const lanes = (): Promise<readonly { id: LaneId }[]> => admin.sql<{ id: LaneId }[]>`select id from onedata.lanes where run_id is not null`;
    expect((await lanes()).length).toBe(2);
    await releaseRun(stores[0], { runId: run?.runId ?? "" });
    expect(await lanes()).toHaveLength(0);
    while (await perform(stores[1], ENGINES[1], () => Promise.resolve()));
    for (const [pipelineId, kinds] of expected) await check(pipelineId, kinds);
  });
});
