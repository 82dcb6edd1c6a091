/** What of an event a replay runs, when one of its sinks has it already: also a sink without a ledger gets it once. */
import { randomUUID } from "node:crypto";
import { afterAll, expect, it } from "vitest";
import { captureGroup } from "../capture.ts";
import { claimRun } from "../claim.ts";
import { completeRun } from "../complete.ts";
import { createTestPipeline } from "../testing.ts";
import { stepJobs } from "./jobs-testing.ts";
import { actor, openJobsWorld, replay } from "./jobs-world.ts";
import { startReplay } from "./replay.ts";

const { store, engine, ...world } = await openJobsWorld();
afterAll(() => world[Symbol.asyncDispose]());

it("what died at one sink goes to that sink alone; what died at a step goes to all", async () => {
  const sinks = ["hook", "table", "file"].map((id) => ({ id }));
  const { tenantId, pipelineId, name } = await createTestPipeline(store.sql, { plan: { sinks } });
  const target = { tenantId, pipelineId, version: 1, laneClass: "live" as const, ordered: false };
  await captureGroup(store, [{ target, events: ["1", "2", "3"].map((payload) => ({ payload })) }]);
  const { run } = await claimRun(store, { runId: randomUUID(), owner: engine.incarnation, deadlineMs: 60_000 });
  if (run === undefined) throw new Error("no run");
  const letter = { code: "test.dead", message: "no", fingerprint: "f", payload: "1" };
  const at = (n: number, sink: string) => ({ ...letter, n, step: "", sink });
  const deadLetters = [at(0, "table"), at(1, "table"), at(1, "file"), { ...letter, n: 2, step: "check" }];
  const counts = { delivered: 0, filtered: 0, dead: 3 };
  await completeRun(store, {
    runId: run.runId,
    engine: engine.incarnation,
    wokenBy: "test",
    durationMs: 1,
    batches: run.batches.map((batch) => ({ ...batch, orderedLaneId: undefined, verdicts: Uint8Array.of(2, 2, 2), counts, deadLetters })),
  });
  await startReplay(store.sql, tenantId, actor, { ...replay, filter: { pipeline: name } });
  while (await stepJobs(store.sql));
  const again = await claimRun(store, { runId: randomUUID(), owner: engine.incarnation, deadlineMs: 60_000 });
  expect(again.run?.batches.map(({ progress }) => progress)).toEqual([
    [
      { n: 0, tries: 0, sinksDone: ["hook", "file"] },
      { n: 1, tries: 0, sinksDone: ["hook"] },
      { n: 2, tries: 0, sinksDone: [] },
    ],
  ]);
});
