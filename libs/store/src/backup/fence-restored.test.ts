/** What a restored database is made fit for: another engine goes on with what the lost ones held, in order. */
import { randomUUID } from "node:crypto";
import { expect, it } from "vitest";
import type { Store } from "../connection.ts";
import { capture, claim, complete, pipeline, useHotPath } from "../hot-path-testing.ts";
import { registerEngine } from "../lease.ts";
import { fenceRestored } from "./fence-restored.ts";

let store: Store;
useHotPath((made) => ({ store } = made));

const restored = { detail: { copy: "20260101T000000", to: null, reached: null }, paused: false };

it("gives free what was in a run, also ordered lanes, and counts no crash", async () => {
  const target = await pipeline({ ordering: "k", route: "fenced" });
  const loose = await pipeline({ route: "fenced" });
  await capture(target, '{"k":1,"i":1}');
  await capture(target, '{"k":1,"i":2}');
  await capture(loose, "3");
  const lost = await claim({ route: "fenced" });
  expect(lost?.batches).toHaveLength(3);
  await capture(target, '{"k":1,"i":4}');
  expect(await claim({ route: "fenced" })).toBeUndefined();

  expect((await fenceRestored(store.sql, restored)).released).toBe(3);
  expect(await store.sql`select from onedata.engines`).toHaveLength(0);
  const owner = randomUUID();
  await registerEngine(store, { incarnation: owner, slots: 1, leaseMs: 60_000 });
  const again = await claim({ route: "fenced", owner });
  const ordered = again?.batches.filter((batch) => batch.ordered) ?? [];
  expect(ordered.map(({ seq }) => seq)).toEqual(ordered.map(({ seq }) => seq).toSorted((a, b) => Number(a - b)));
  expect(again?.batches.map(({ attempt, failures }) => [attempt, failures]).toSorted()).toEqual([
    [1, 0],
    [2, 0],
    [2, 0],
    [2, 0],
  ]);
  // What a lost engine still says is heard by nobody.
  if (lost === undefined || again === undefined) throw new Error("no run");
  expect((await complete(lost)).size).toBe(0);
});

it("moves generations on, so that no sink takes a new job for one it knows, and pauses when asked to", async () => {
  const { pipelineId } = await pipeline();
  const read = async () => (await store.sql`select generation, state from onedata.pipelines where id = ${pipelineId}`)[0];
  const before = await read();
  await fenceRestored(store.sql, restored);
  expect(await read()).toEqual({ generation: Number(before?.["generation"]) + 10_000, state: "running" });
  await fenceRestored(store.sql, { ...restored, paused: true });
  expect(await read()).toEqual({ generation: Number(before?.["generation"]) + 20_000, state: "paused" });
});
