import { randomUUID } from "node:crypto";
import { toBatchId } from "@onedata/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { captureGroup } from "./capture.ts";
import { captureImportChunk } from "./capture-import.ts";
import { openStore, type Store } from "./connection.ts";
import { loadEvents } from "./events.ts";
import { addProcessed } from "./stats.ts";
import { sweep } from "./sweep.ts";
import { createTestPipeline, openTestDatabase, type TestDatabase } from "./testing.ts";
import { listenForWakes, openWaker } from "./wake.ts";

let database: TestDatabase;
let store: Store;
beforeAll(async () => {
  database = await openTestDatabase();
  store = openStore(database.url);
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

async function pipeline() {
  const { tenantId, pipelineId } = await createTestPipeline(store.sql);
  return { tenantId, pipelineId, version: 1, laneClass: "live" as const, ordered: false };
}

describe("wake-ups", () => {
  it("reach whoever listens, at most a hundred a second, the last of a burst too", async () => {
    let heard = 0;
    await using waker = openWaker(database.url);
    await using _listener = await listenForWakes(database.url, () => (heard += 1));
    const atStart = heard;
    const startedAt = performance.now();
    for (let i = 0; i < 20; i++) {
      for (let burst = 0; burst < 50; burst++) waker.wake();
      await new Promise((next) => setImmediate(next));
    }
    await expect.poll(() => heard).toBeGreaterThan(atStart);
    expect(heard - atStart).toBeLessThanOrEqual(2 + (performance.now() - startedAt) / 10);
    const before = heard;
    waker.wake();
    await expect.poll(() => heard).toBeGreaterThan(before);
  });
});

describe("imports", () => {
  it("move by compare-and-set, so no line is written twice", async () => {
    const target = await pipeline();
    const [row] = await store.sql<
      { id: bigint }[]
    >`insert into onedata.imports (tenant_id, pipeline_id, media_type) values (${target.tenantId}, ${target.pipelineId}, 'application/x-ndjson') returning id`;
    const importId = row?.id ?? 0n;
    const chunk = {
      target: { ...target, laneClass: "bulk" as const, importId },
      events: Array.from({ length: 150 }, (_, i) => ({ payload: String(i) })),
      rejects: [{ line: 151n, byteOffset: 400n, code: "capture.json_malformed", message: "bad\0", raw: "{\ud800" }],
      from: { bytes: 0n, lines: 0n },
      to: { bytes: 500n, lines: 151n, prefixHash: "h" },
    };
    const outcomes = await Promise.allSettled([captureImportChunk(store, chunk), captureImportChunk(store, chunk)]);
    expect(outcomes.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    await captureImportChunk(store, { ...chunk, events: [], rejects: [], from: chunk.to, to: { bytes: 600n, lines: 152n }, last: true });
    const [after] = await store.sql`select state, accepted, rejected, source_bytes, source_lines from onedata.imports where id = ${importId}`;
    expect(after).toEqual({ state: "received", accepted: 150n, rejected: 1n, source_bytes: 600n, source_lines: 152n });
    expect(await store.sql`select sum(q.n)::int as n, count(*)::int as batches from onedata.queue q where import_id = ${importId}`).toEqual([
      { n: 150, batches: 2 },
    ]);
  });
});

describe("replays", () => {
  it("load their source events", async () => {
    const target = await pipeline();
    const [[captured] = []] = await captureGroup(store, [{ target, events: [{ payload: "1" }, { payload: "2" }] }]);
    if (captured?.kind !== "captured") throw new Error("not captured");
    const [made] = await store.sql<{ id: bigint }[]>`select onedata.next_id() as id`;
    const replay = toBatchId(made?.id ?? 0n);
    await store.sql`insert into onedata.batch_refs (batch_id, n, src_batch_id, src_n) values (${replay}, 0, ${captured.batchId}, 1)`;
    const events = await loadEvents(store, [{ batchId: replay, kind: "replay" }]);
    expect(events.get(replay)).toEqual([
      { n: 0, payload: "2", orderingKey: undefined, trace: undefined, source: { batchId: captured.batchId, n: 1, seq: expect.any(BigInt) } },
    ]);
  });
});

describe("upkeep", () => {
  it("forgets keys after a day and frees lanes whose run is gone", async () => {
    const target = await pipeline();
    await captureGroup(store, [
      {
        target,
        events: [
          { payload: "1", idempotencyKey: "old" },
          { payload: "1", idempotencyKey: "new" },
        ],
      },
    ]);
    await store.sql`update onedata.idempotency_keys set created_at = now() - interval '25 hours' where key_hash = sha256('old'::bytea)`;
    const { pipelineId } = await createTestPipeline(store.sql, { ordering: "k" });
    await store.sql`update onedata.lane_runs set run_id = ${randomUUID()} where lane_id in (select id from onedata.lanes where pipeline_id = ${pipelineId} and shard < 2)`;
    expect(await sweep(store.sql)).toMatchObject({ keys: 1, lanes: 4 });
    expect(await sweep(store.sql)).toEqual({ partitions: 0, keys: 0, lanes: 0, engines: 0 });
  });

  it("adds figures up", async () => {
    const { pipelineId } = await pipeline();
    const counts = { pipelineId, delivered: 2, filtered: 1, dead: 0, latencyMs: 30.5 };
    await addProcessed(store, [counts], 1);
    await addProcessed(store, [counts], 2);
    expect(
      await store.sql`select sum(delivered)::int d, sum(latency_ms)::int l from onedata.pipeline_stats where pipeline_id = ${pipelineId}`,
    ).toEqual([{ d: 4, l: 62 }]);
  });
});
