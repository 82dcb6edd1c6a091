import { randomUUID } from "node:crypto";
import type { BatchId } from "@onedata/core";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { captureGroup } from "../capture.ts";
import type { CaptureTarget } from "../capture-batches.ts";
import { type ClaimedRun, claimRun } from "../claim.ts";
import { completeRun } from "../complete.ts";
import { openStore, type Store } from "../connection.ts";
import { registerEngine } from "../lease.ts";
import { blockLanes, releaseRun, unblockLanes } from "../release.ts";
import { createTestPipeline, openTestDatabase, type TestDatabase, type TestPipelineOptions } from "../testing.ts";
import { listEvents } from "./event-lists.ts";
import { type EventWait, readWaits } from "./event-wait.ts";

let database: TestDatabase;
let store: Store;
const engine = randomUUID();
beforeAll(async () => {
  database = await openTestDatabase();
  store = openStore(database.url);
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await store.sql`truncate onedata.queue, onedata.engines`;
});

type Made = CaptureTarget & { readonly name: string };
async function pipeline(options: TestPipelineOptions = {}): Promise<Made> {
  const { tenantId, pipelineId, name } = await createTestPipeline(store.sql, options);
  return { tenantId, pipelineId, name, version: 1, laneClass: "live", ordered: options.ordering !== undefined };
}
async function capture(target: Made, ...values: number[]): Promise<BatchId> {
  const events = values.map((v) => ({ payload: String(v), ...(target.ordered ? { orderingKey: "a" } : {}) }));
  const [outcome] = (await captureGroup(store, [{ target, events }])).flat();
  if (outcome?.kind !== "captured") throw new Error("not captured");
  return outcome.batchId;
}
async function claim(maxEvents = 500): Promise<ClaimedRun> {
  await registerEngine(store, { incarnation: engine, slots: 2, leaseMs: 60_000 });
  const { run } = await claimRun(store, { runId: randomUUID(), owner: engine, deadlineMs: 60_000, maxEvents });
  if (run === undefined) throw new Error("nothing waits");
  return run;
}
async function waitOf(target: Made, batchId: BatchId): Promise<EventWait> {
  const wait = (await readWaits(store.sql, target.tenantId, [batchId])).get(batchId);
  if (wait === undefined) throw new Error("it does not wait");
  return wait;
}

describe("what an event waits for", () => {
  it("is nothing of another tenant's, and nothing once it is done", async () => {
    const [target, other] = [await pipeline(), await pipeline()];
    const batch = await capture(target, 1);
    expect((await readWaits(store.sql, other.tenantId, [batch])).size).toBe(0);
    await store.sql`delete from onedata.queue`;
    expect((await readWaits(store.sql, target.tenantId, [batch])).size).toBe(0);
  });

  it("counts what stands before it, and engines that live", async () => {
    const target = await pipeline();
    const batches = [await capture(target, 1), await capture(target, 2), await capture(target, 3)];
    const last = batches[2] ?? batches[0];
    expect(await waitOf(target, last as BatchId)).toMatchObject({
      batchesAhead: 2,
      importBatchesAhead: 0,
      enginesAlive: 0,
      lastEngineAt: undefined,
      running: false,
    });
    await registerEngine(store, { incarnation: engine, slots: 1, leaseMs: 60_000 });
    expect(await waitOf(target, last as BatchId)).toMatchObject({ enginesAlive: 1 });
    const { events } = await listEvents(store.sql, target.tenantId, {
      name: target.name,
      limit: 10,
      before: undefined,
      state: undefined,
      since: undefined,
      until: undefined,
    });
    expect(events.map(({ wait }) => wait?.batchesAhead)).toEqual([2, 1, 0]);
  });

  it("knows its run, and that the run's engine is silent", async () => {
    const target = await pipeline();
    const batch = await capture(target, 1);
    await claim();
    expect(await waitOf(target, batch)).toMatchObject({ running: true, attempt: 1, ownerLostAt: undefined, runDeadline: expect.any(Date) });
    await store.sql`delete from onedata.engines`;
    expect(await waitOf(target, batch)).toMatchObject({ running: true, ownerLostAt: expect.any(Date), enginesAlive: 0 });
  });

  it("knows since when its service is down, over many tries, and that it is up again", async () => {
    const target = await pipeline({ route: "down" });
    const batch = await capture(target, 1);
    const block = () => blockLanes(store, { route: "down" }, { backoff: { firstMs: 1, mostMs: 60_000 }, jitter: 1, reason: "service x: refused" });
    await block();
    const first = (await waitOf(target, batch)).blocked;
    expect(first).toMatchObject({ reason: "service x: refused", failures: 1, since: expect.any(Date), until: expect.any(Date) });
    await expect.poll(block).toBe(2);
    expect((await waitOf(target, batch)).blocked).toMatchObject({ failures: 2, since: first?.since });
    await unblockLanes(store, { route: "down" });
    expect((await waitOf(target, batch)).blocked).toBeUndefined();
  });

  it("knows what stands before it on an ordered lane: a run, a retry, a suspect", async () => {
    const target = await pipeline({ ordering: "key" });
    const first = await capture(target, 1);
    const run = await claim();
    const second = await capture(target, 2);
    expect((await waitOf(target, second)).orderedBehind).toEqual({ running: true, availableAt: undefined, suspect: false });
    const retry = { at: "step a", code: "busy", message: "later" };
    await completeRun(store, {
      runId: run.runId,
      engine,
      wokenBy: "test",
      durationMs: 1,
      batches: run.batches.map((batch) => ({
        ...batch,
        orderedLaneId: batch.laneId,
        verdicts: Uint8Array.of(0),
        counts: { delivered: 0, filtered: 0, dead: 0 },
        left: { progress: [{ n: 0, tries: 1, sinksDone: [], retry }], bytes: 1, delayMs: 60_000 },
      })),
    });
    expect(await waitOf(target, first)).toMatchObject({
      orderedBehind: undefined,
      availableAt: expect.any(Date),
      progress: [{ n: 0, tries: 1, retry }],
    });
    expect((await waitOf(target, second)).orderedBehind).toMatchObject({ running: false, availableAt: expect.any(Date), suspect: false });
    await store.sql`update onedata.queue set available_at = null, suspect = true, failures = 2 where batch_id = ${first}`;
    expect((await waitOf(target, second)).orderedBehind).toEqual({ running: false, availableAt: undefined, suspect: true });
    expect(await waitOf(target, first)).toMatchObject({ suspect: true, failures: 2, orderedBehind: undefined });
  });

  it("knows its import, stopped or not, and its job", async () => {
    const target = await pipeline();
    const [row] = await store.sql<{ id: bigint }[]>`
      insert into onedata.imports (tenant_id, pipeline_id, media_type) values (${target.tenantId}, ${target.pipelineId}, 'text/csv') returning id`;
    const importId = row?.id ?? 0n;
    const batches = [await capture(target, 1), await capture(target, 2)];
    await store.sql`update onedata.queue set import_id = ${importId}`;
    const [, second = 0n as BatchId] = batches;
    expect(await waitOf(target, second)).toMatchObject({ importBatchesAhead: 1, import: { id: importId, stopped: undefined } });
    await store.sql`update onedata.imports set stopped_at = now(), stop_reason = 'stopped itself: x' where id = ${importId}`;
    expect(await waitOf(target, second)).toMatchObject({ import: { stopped: { reason: "stopped itself: x" } } });
    const [job] = await store.sql<{ id: bigint }[]>`
      insert into onedata.jobs (tenant_id, pipeline_id, kind, state) values (${target.tenantId}, ${target.pipelineId}, 'replay', 'cancelled') returning id`;
    await store.sql`update onedata.queue set job_id = ${job?.id ?? 0n}, kind = 'replay', import_id = null where batch_id = ${second}`;
    expect(await waitOf(target, second)).toMatchObject({ kind: "replay", import: undefined, job: { id: job?.id, state: "cancelled" } });
  });

  it("parts what crashed together, and marks the second crash", async () => {
    const target = await pipeline();
    for (const value of [1, 2, 3]) await capture(target, value);
    const run = await claim();
    await releaseRun(store, { runId: run.runId, crashed: true, delayMs: 60_000 });
    const rows = await store.sql`select part, failures, suspect from onedata.queue order by seq`;
    expect(rows).toEqual([
      { part: 1, failures: 1, suspect: false },
      { part: 2, failures: 1, suspect: false },
      { part: 2, failures: 1, suspect: false },
    ]);
    expect(await waitOf(target, run.batches[0]?.batchId ?? (0n as BatchId))).toMatchObject({ failures: 1, availableAt: expect.any(Date) });
  });
});
