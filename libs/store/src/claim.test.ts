/** What a run gets: shares, order, and what it leaves alone. */
import { randomUUID } from "node:crypto";
import type { BatchId, LaneId } from "@onedata/core";
import { describe, expect, it } from "vitest";
import { captureGroup } from "./capture.ts";
import { createClaimer } from "./claimer.ts";
import type { Store } from "./connection.ts";
import { capture, claim, complete, delivered, engine, pipeline, useHotPath } from "./hot-path-testing.ts";
import { blockLanes, unblockLanes } from "./release.ts";

let store: Store;
useHotPath((made) => ({ store } = made));

describe("claims", () => {
  it("takes batches of many lanes of one route, loads, and completes them", async () => {
    const targets = [await pipeline({ route: "r1" }), await pipeline({ route: "r1" }), await pipeline({ route: "r2" })];
    for (const target of targets) await capture(target, "1", "2");
    const run = await claim({ route: "r1" });
    expect(run?.batches.length).toBe(2);
    expect(run?.batches.map(({ version, attempt }) => [version, attempt])).toEqual([
      [1, 1],
      [1, 1],
    ]);
    expect(await claim({ route: "r1" })).toBeUndefined();
    expect((await claim({ skipRoutes: ["r1"] }))?.route).toBe("r2");
    if (run === undefined) throw new Error("no run");
    const first = run.batches[0];
    if (first === undefined) throw new Error("no batch");
    const done = await complete(
      run,
      run.batches.map((batch) =>
        delivered(
          batch,
          batch === first
            ? {
                verdicts: Uint8Array.of(1, 2),
                counts: { delivered: 1, filtered: 0, dead: 1 },
                deadLetters: [{ n: 1, step: "s", code: "record.invalid", fingerprint: "f", message: "bad \0", payload: '"\\u0000"' }],
                outputs: [{ sink: 0, ordinals: [0, 0], payloads: ["1", "1.5"] }],
              }
            : {},
        ),
      ),
    );
    expect(done).toEqual(new Set(run.batches.map(({ batchId }) => batchId)));
    const [letter] = await store.sql`select n, payload, message from onedata.dead_letters where batch_id = ${first.batchId}`;
    expect(letter).toEqual({ n: 1, payload: '"\\u0000"', message: "bad \ufffd" });
    const [output] = await store.sql`select ordinals, payloads from onedata.outputs where batch_id = ${first.batchId}`;
    expect(output).toEqual({ ordinals: [0, 0], payloads: "1\u001e1.5" });
    const [verdicts] = await store.sql`select verdicts from onedata.runs where batch_id = ${first.batchId}`;
    expect(verdicts?.["verdicts"]).toEqual(Buffer.from([1, 2]));
  });

  it("keeps full bulk batches from filling the run, and bulk from starving", async () => {
    const live = await Promise.all(Array.from({ length: 20 }, () => pipeline()));
    const bulk = { ...(await pipeline()), laneClass: "bulk" as const };
    for (let i = 0; i < 10; i++) await capture(bulk, ...Array.from({ length: 100 }, () => "1"));
    for (let i = 0; i < 30; i++)
      await captureGroup(
        store,
        live.map((target) => ({ target, events: [{ payload: "1" }] })),
      );
    const run = await claim();
    const events = { live: 0, bulk: 0 };
    for (const batch of run?.batches ?? []) events[batch.laneClass] += batch.n;
    expect(events).toEqual({ live: 400, bulk: 100 });
  });

  it("gives lanes shares by weight", async () => {
    const light = await pipeline({ weight: 1 });
    const heavy = await pipeline({ weight: 3 });
    for (let i = 0; i < 600; i++)
      await captureGroup(
        store,
        [light, heavy].map((target) => ({ target, events: [{ payload: "1" }] })),
      );
    const run = await claim({ maxEvents: 400 });
    expect(run?.batches.filter((batch) => batch.pipelineId === heavy.pipelineId).length).toBeCloseTo(300, -1);
  });

  it("takes nothing of paused or blocked lanes, nor less than asked for", async () => {
    const target = await pipeline({ route: "blocked" });
    await capture(target, "1");
    expect(await claim({ minEvents: 2 })).toBeUndefined();
    await blockLanes(store, { route: "blocked" }, { backoff: { firstMs: 60_000, mostMs: 60_000 }, jitter: 1, reason: "service down" });
    expect(await claim()).toBeUndefined();
    await unblockLanes(store, { route: "blocked" });
    await store.sql`update onedata.pipelines set state = 'paused' where id = ${target.pipelineId}`;
    expect(await claim()).toBeUndefined();
    await store.sql`update onedata.pipelines set state = 'running' where id = ${target.pipelineId}`;
    expect((await claim())?.events).toBe(1);
  });

  it("takes a broker's batches first", async () => {
    const target = await pipeline();
    for (let i = 0; i < 20; i++) await capture(target, String(i));
    const waiting = await store.sql<{ id: BatchId }[]>`select batch_id as id from onedata.queue order by seq`;
    const wanted = waiting.slice(5, 8).map(({ id }) => id);
    const run = await claim({ prefer: wanted, maxEvents: 4 });
    expect(run?.batches.map(({ batchId }) => batchId)).toEqual([waiting[0]?.id, ...wanted]);
  });

  it("takes preferred batches whoever's slice their lane is in, and from their route", async () => {
    const neighbour = randomUUID();
    const targets = await Promise.all(Array.from({ length: 12 }, (_, i) => pipeline({ route: i === 11 ? "elsewhere" : "record" })));
    for (const target of targets) await capture(target, "1");
    const waiting = await store.sql<{ id: BatchId; lane: LaneId }[]>`select batch_id as id, lane_id as lane from onedata.queue order by seq`;
    for (const { id, lane } of [...waiting].reverse()) {
      const run = await claim({ prefer: [id], preferLanes: [lane], maxEvents: 1, engines: [engine, neighbour] });
      expect(run?.batches.map(({ batchId }) => batchId)).toEqual([id]);
    }
  });

  it("looks at all lanes in turn, however many wait", async () => {
    const tenant = await pipeline();
    const made = await store.sql`
      with p as (insert into onedata.pipelines (tenant_id, name, active_version) select ${tenant.tenantId}, gen_random_uuid(), 1 from generate_series(1, 450) returning id)
      select onedata.make_lanes(id) from p`;
    expect(made.length).toBe(450);
    await store.sql`insert into onedata.queue (batch_id, seq, lane_id, n, bytes)
      select onedata.next_id(), nextval('onedata.batch_seq'), l.id, 1, 10 from onedata.lanes l, generate_series(1, 4) where l.tenant_id = ${tenant.tenantId} and l.class = 'live' and l.pipeline_id <> ${tenant.pipelineId}`;
    const claimer = createClaimer(store);
    const lanes = new Set<bigint>();
    for (let i = 0; i < 3; i++) {
      const run = await claimer.claim({ runId: randomUUID(), owner: engine, deadlineMs: 60_000, maxEvents: 200 });
      for (const { laneId } of run?.batches ?? []) lanes.add(laneId);
    }
    expect(lanes.size).toBe(450);
  });
});
