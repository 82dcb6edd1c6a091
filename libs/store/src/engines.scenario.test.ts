/** Several engines on one queue: order per key, few collisions, bounded claims on just-analysed and on bloated tables. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { captureGroup } from "./capture.ts";
import type { CaptureTarget } from "./capture-batches.ts";
import { type ClaimedRun, FULL_SHARE, RUN_TARGET_EVENTS } from "./claim.ts";
import { createClaimer } from "./claimer.ts";
import { completeRun } from "./complete.ts";
import { openStore, type Store } from "./connection.ts";
import { loadEvents } from "./events.ts";
import { registerEngine } from "./lease.ts";
import { releaseRun } from "./release.ts";
import { createTestPipeline, createTestTenant, openTestDatabase, type TestDatabase } from "./testing.ts";

let database: TestDatabase;
let stores: readonly Store[];
const engines = [randomUUID(), randomUUID()];

beforeAll(async () => {
  database = await openTestDatabase();
  stores = engines.map(() => openStore(database.url));
  for (const [i, store] of stores.entries()) await registerEngine(store, { incarnation: engines[i] ?? "", slots: 2, leaseMs: 3_600_000 });
});
afterAll(async () => {
  for (const store of stores) await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});
const first = (): Store => {
  const [store] = stores;
  if (store === undefined) throw new Error("no store");
  return store;
};
beforeEach(async () => {
  await first().sql`truncate onedata.queue`;
});

async function makePipelines(count: number, ordering?: string): Promise<CaptureTarget[]> {
  const tenantId = await createTestTenant(first().sql);
  return Promise.all(
    Array.from({ length: count }, async () => {
      const { pipelineId } = await createTestPipeline(first().sql, { tenantId, ...(ordering === undefined ? {} : { ordering }) });
      return { tenantId, pipelineId, version: 1, laneClass: "live" as const, ordered: ordering !== undefined };
    }),
  );
}

const fill = (targets: readonly CaptureTarget[], batches: number, n: number, laneClass = "live"): Promise<unknown> =>
  first()
    .sql`insert into onedata.queue (batch_id, seq, lane_id, n, bytes) select onedata.next_id(), nextval('onedata.batch_seq'), l.id, ${n}, ${n * 200}
    from generate_series(1, ${batches}) g, onedata.lanes l where l.pipeline_id = any(${`{${targets.map(({ pipelineId }) => pipelineId).join(",")}}`}::bigint[]) and l.class = ${laneClass}`;

const finish = (store: Store, engine: string, run: ClaimedRun): Promise<unknown> =>
  completeRun(store, {
    runId: run.runId,
    engine,
    wokenBy: "test",
    durationMs: 1,
    batches: run.batches.map((batch) => ({
      ...batch,
      orderedLaneId: batch.ordered ? batch.laneId : undefined,
      verdicts: new Uint8Array(batch.n).fill(1),
      counts: { delivered: batch.n, filtered: 0, dead: 0 },
    })),
  });

/** Deterministic noise: no two runs of the test differ in their decisions, only in timing. */
function createNoise(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648;
}

describe("several engines", () => {
  it("deliver the events of each key in order, through releases and partial completions", async () => {
    const [target] = await makePipelines(1, "key");
    if (target === undefined) throw new Error("no pipeline");
    const keys = Array.from({ length: 25 }, (_, i) => `key-${i}`);
    const delivered = new Map<string, number[]>(keys.map((key) => [key, []]));
    const rounds = 100;
    let captured = false;
    const producer = (async () => {
      for (let position = 0; position < rounds; position++) {
        await captureGroup(first(), [{ target, events: keys.map((key) => ({ payload: String(position), orderingKey: key })) }]);
      }
      captured = true;
    })();
    const consume = async (index: number): Promise<void> => {
      const [store, engine, noise] = [stores[index] ?? first(), engines[index] ?? "", createNoise(index + 1)];
      const claimer = createClaimer(store);
      for (;;) {
        const run = await claimer.claim({ runId: randomUUID(), owner: engine, deadlineMs: 60_000, maxEvents: 60 }); // no slices: they shall collide
        if (run === undefined) {
          if (captured && (await store.sql`select 1 from onedata.queue limit 1`).length === 0) return;
          continue;
        }
        if (noise() < 0.25) {
          await releaseRun(store, { runId: run.runId, delayMs: noise() < 0.5 ? 3 : 0 });
          continue;
        }
        const events = await loadEvents(store, run.batches);
        // One batch of the run is only partly done: its first event waits, so nothing of that lane after it may be delivered before.
        const held = noise() < 0.25 ? run.batches[0]?.laneId : undefined;
        const returned = new Set<bigint>();
        for (const batch of run.batches) {
          if (batch.laneId === held) {
            returned.add(batch.batchId);
            continue;
          }
          for (const event of events.get(batch.batchId) ?? []) delivered.get(event.orderingKey ?? "")?.push(Number(event.payload));
        }
        await completeWithReturned(store, engine, run, returned, events);
      }
    };
    await Promise.all([producer, consume(0), consume(1)]);
    for (const [key, positions] of delivered) expect(positions, key).toEqual(Array.from({ length: rounds }, (_, i) => i));
  });

  it("lose under 5 % of what they pick to each other over 200 lanes", async () => {
    const targets = await makePipelines(200);
    await fill(targets, 60, 2);
    const lost = { lost: 0, taken: 0 };
    await Promise.all(
      stores.map(async (store, i) => {
        const claimer = createClaimer(store);
        for (let claims = 0; claims < 20; claims++) {
          const run = await claimer.claim({ runId: randomUUID(), owner: engines[i] ?? "", deadlineMs: 60_000, engines });
          if (run === undefined) break;
          lost.lost += run.lost;
          lost.taken += run.batches.length;
          await finish(store, engines[i] ?? "", run);
        }
      }),
    );
    expect(lost.taken).toBeGreaterThan(4000);
    expect(lost.lost / lost.taken).toBeLessThan(0.05);
  });

  it("take of the other's slice what fills a run, and the rest when it was left for a while", async () => {
    const targets = await makePipelines(30);
    const [engine = ""] = engines;
    /** Until nothing more is given: how many events that were. */
    const drain = async (claimer = createClaimer(first())): Promise<number> => {
      for (let events = 0; ; ) {
        const run = await claimer.claim({ runId: randomUUID(), owner: engine, deadlineMs: 60_000, engines });
        if (run === undefined) return events;
        events += run.events;
        await finish(first(), engine, run);
      }
    };
    const waiting = async (): Promise<number> => Number((await first().sql`select coalesce(sum(n), 0) as n from onedata.queue`)[0]?.["n"]);
    await fill(targets, 4, 20);
    // The other's half, without less than a run of it.
    expect(await drain()).toBeGreaterThanOrEqual(2400 - FULL_SHARE * RUN_TARGET_EVENTS);
    await first().sql`truncate onedata.queue`;
    await fill(targets, 1, 2);
    const own = await drain();
    expect(own).toBeGreaterThan(0);
    expect(own + (await waiting())).toBe(60);
    const claimer = createClaimer(first());
    for (const deadline = performance.now() + 10_000; (await waiting()) > 0; ) {
      if (performance.now() > deadline) throw new Error(`still waiting: ${await waiting()} events`);
      await drain(claimer);
    }
  });

  it("claim quickly from tables that were analysed while empty", async () => {
    const targets = await makePipelines(200);
    await first().sql`vacuum analyze onedata.queue`;
    await first().sql`vacuum analyze onedata.lanes`;
    await fill(targets, 50, 2);
    const claimer = createClaimer(first());
    const startedAt = performance.now();
    for (let i = 0; i < 10; i++) await claimer.claim({ runId: randomUUID(), owner: engines[0] ?? "", deadlineMs: 60_000 });
    // 10 claims of 250 batches took the default planner 18 s; here ~0.2 s, and the bound leaves room for a busy machine.
    expect(performance.now() - startedAt).toBeLessThan(10_000);
  });
});

/** Completes what was delivered; the returned batches go back whole. */
async function completeWithReturned(
  store: Store,
  engine: string,
  run: ClaimedRun,
  returned: ReadonlySet<bigint>,
  events: Awaited<ReturnType<typeof loadEvents>>,
): Promise<void> {
  await completeRun(store, {
    runId: run.runId,
    engine,
    wokenBy: "test",
    durationMs: 1,
    batches: run.batches.map((batch) => {
      const waiting = returned.has(batch.batchId) ? (events.get(batch.batchId) ?? []) : [];
      return {
        ...batch,
        orderedLaneId: batch.laneId,
        verdicts: new Uint8Array(batch.n).fill(waiting.length > 0 ? 0 : 1),
        counts: { delivered: batch.n - waiting.length, filtered: 0, dead: 0 },
        ...(waiting.length === 0
          ? {}
          : { left: { progress: waiting.map(({ n }) => ({ n, tries: 1, sinksDone: [] })), bytes: batch.bytes, delayMs: 3 } }),
      };
    }),
  });
}
