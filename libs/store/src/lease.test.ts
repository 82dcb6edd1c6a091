/** What comes back, and what no longer counts: fences, releases, crashes, leases. */
import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it } from "vitest";
import type { Store } from "./connection.ts";
import { capture, claim, complete, delivered, pipeline, useHotPath } from "./hot-path-testing.ts";
import { reclaim, registerEngine, renewLease } from "./lease.ts";
import { releaseRun } from "./release.ts";
import { untilServerIsOld } from "./testing.ts";

let store: Store;
useHotPath((made) => ({ store } = made));
beforeAll(() => untilServerIsOld(store), 30_000);

describe("releases and leases", () => {
  it("lets a completion with an old fence do nothing", async () => {
    const target = await pipeline();
    await capture(target, "1");
    const stalled = await claim();
    if (stalled === undefined) throw new Error("no run");
    await store.sql`update onedata.queue set run_deadline = now() - interval '1 second'`;
    await store.sql`update onedata.engines set alive_until = alive_until`;
    const taken = await reclaim(store);
    expect(taken.map(({ failures, suspect }) => [failures, suspect])).toEqual([[1, false]]);
    const successor = await claim();
    if (successor === undefined) throw new Error("no successor");
    expect(successor.batches[0]?.attempt).toBe(2);
    const letter = { n: 0, step: "s", code: "c", fingerprint: "f", message: "m", payload: "1" };
    expect(
      await complete(
        stalled,
        stalled.batches.map((batch) => delivered(batch, { deadLetters: [letter], outputs: [{ sink: 0, ordinals: [0], payloads: ["1"] }] })),
      ),
    ).toEqual(new Set());
    expect((await complete(successor)).size).toBe(1);
    const batchId = stalled.batches[0]?.batchId ?? 0n;
    const [rows] =
      await store.sql`select (select count(*) from onedata.runs where batch_id = ${batchId})::int runs, (select count(*) from onedata.dead_letters where batch_id = ${batchId})::int letters,
      (select count(*) from onedata.outputs where batch_id = ${batchId})::int outputs`;
    expect(rows).toEqual({ runs: 1, letters: 0, outputs: 0 });
  });

  it("frees the version on release unless a write has begun", async () => {
    const target = await pipeline();
    await capture(target, "1");
    const run = await claim();
    expect(await releaseRun(store, { runId: run?.runId ?? "" })).toBe(1);
    expect((await store.sql`select version, failures, attempt from onedata.queue`)[0]).toEqual({ version: null, failures: 0, attempt: 1 });
    const next = await claim();
    await releaseRun(store, { runId: next?.runId ?? "", keepVersion: next?.batches.map(({ batchId }) => batchId) ?? [] });
    expect((await store.sql`select version from onedata.queue`)[0]).toEqual({ version: 1 });
  });

  it("makes a suspect of what crashed twice and claims it alone", async () => {
    const target = await pipeline();
    await capture(target, "1");
    await capture(target, "2");
    for (let i = 0; i < 2; i++) {
      const run = await claim();
      expect(run?.batches.length).toBe(2);
      await releaseRun(store, { runId: run?.runId ?? "", crashed: true });
    }
    expect(await claim()).toBeUndefined();
    const suspect = await claim({ suspect: true });
    expect(suspect?.batches.length).toBe(1);
    const other = await claim({ suspect: true });
    expect(other?.batches.length).toBe(1);
    expect(other?.batches[0]?.batchId).not.toBe(suspect?.batches[0]?.batchId);
  });

  it("makes a suspect of what two engines died with", async () => {
    const target = await pipeline();
    await capture(target, "1");
    for (const suspect of [false, true]) {
      expect(await claim()).toBeDefined();
      await store.sql`update onedata.queue set run_deadline = now() - interval '1 second'`;
      expect((await reclaim(store)).map((taken) => taken.suspect)).toEqual([suspect]);
    }
    expect(await claim()).toBeUndefined();
    expect((await claim({ suspect: true }))?.batches[0]).toMatchObject({ failures: 2 });
  });

  it("frees the version of what an engine died with, unless a sink of some event is done", async () => {
    const target = await pipeline();
    const finished = async (...sinksDone: string[]): Promise<unknown> => {
      await store.sql`truncate onedata.queue`;
      await capture(target, "1", "2");
      const run = await claim();
      if (run === undefined) throw new Error("no run");
      const left = { progress: [{ n: 1, tries: 1, sinksDone }], bytes: 1, delayMs: 0 };
      await complete(
        run,
        run.batches.map((batch) => delivered(batch, { verdicts: Uint8Array.of(1, 0), counts: { delivered: 1, filtered: 0, dead: 0 }, left })),
      );
      expect((await claim())?.batches).toHaveLength(1);
      await store.sql`update onedata.queue set run_deadline = now() - interval '1 second'`;
      expect(await reclaim(store)).toHaveLength(1);
      return (await store.sql`select version from onedata.queue`)[0]?.["version"];
    };
    expect(await finished("a")).toBe(1);
    expect(await finished()).toBeNull();
  });

  it("counts leases and deadlines from when the server was first seen to answer after a recovery from a crash", async () => {
    const incarnation = randomUUID();
    await registerEngine(store, { incarnation, slots: 1, leaseMs: 10_000 });
    const target = await pipeline();
    await capture(target, "1");
    await claim({ owner: incarnation });
    await store.sql`update onedata.engines set alive_until = now() - interval '1 hour', renewed_at = now() - interval '1 hour' - interval '10 seconds' where incarnation = ${incarnation}`;
    await store.sql`update onedata.queue set run_deadline = now() - interval '1 hour'`;
    // As a recovery leaves it.
    await store.sql`truncate onedata.server_ready`;
    expect(await Promise.all([reclaim(store), reclaim(store)])).toEqual([[], []]);
    expect(await store.sql`select 1 from onedata.server_ready`).toHaveLength(1);
    expect(await renewLease(store, { incarnation, leaseMs: 10_000 })).toContain(incarnation);
    await store.sql`update onedata.server_ready set seen_at = now() - interval '11 seconds'`;
    expect(await reclaim(store)).toHaveLength(1);
  });

  it("renews a living engine and refuses an expired one", async () => {
    const incarnation = randomUUID();
    await registerEngine(store, { incarnation, slots: 1, leaseMs: 10_000 });
    expect(await renewLease(store, { incarnation, leaseMs: 10_000 })).toContain(incarnation);
    await store.sql`update onedata.engines set alive_until = now() - interval '1 hour', renewed_at = now() - interval '1 hour' - interval '10 seconds' where incarnation = ${incarnation}`;
    expect(await renewLease(store, { incarnation, leaseMs: 10_000 })).toBeUndefined();
  });
});
