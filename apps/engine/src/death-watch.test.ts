import { type ClaimedBatch, type CompletedBatch, openStore, type Store } from "@onedata/store";
import { createTestPipeline, openTestDatabase, type TestDatabase } from "@onedata/store/testing";
import { afterAll, beforeAll, expect, it } from "vitest";
import { DeathWatch } from "./death-watch.ts";

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

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** 500 of 500 events of a batch of this kind die; answers what became of the pipeline, and the deaths that were counted. */
async function dieOf(kind: ClaimedBatch["kind"]): Promise<unknown> {
  const { tenantId, pipelineId } = await createTestPipeline(store.sql);
  // What a window is kept by, and nothing else of a batch.
  const batch = { kind, laneClass: "live", importId: undefined, tenantId, pipelineId, version: 1 } as ClaimedBatch;
  const watch = new DeathWatch(store, quiet);
  const completed = { counts: { delivered: 0, filtered: 0, dead: 500 } } as CompletedBatch;
  watch.add(batch, completed);
  await watch.settle();
  await watch.flush();
  return (
    await store.sql`
      select p.state, (select coalesce(sum(d), 0)::int from onedata.death_windows w, unnest(w.dead) d where w.pipeline_id = p.id) as counted
        from onedata.pipelines p where p.id = ${pipelineId}`
  )[0];
}

it.each(["replay", "backfill"] as const)("what dies again in a %s never pauses the pipeline", async (kind) => {
  expect(await dieOf(kind)).toEqual({ state: "running", counted: 0 });
});

it("as many deaths of new events do", async () => {
  expect(await dieOf("capture")).toMatchObject({ state: "paused" });
});
