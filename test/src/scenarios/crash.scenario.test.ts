/** What a crash must not do, in small; `npm run e2e` does the same at length and on the cluster. */
import { describe, expect, it } from "vitest";
import { restartUnderLoad } from "../e2e/drain.ts";
import { sendNumbered } from "../e2e/events.ts";
import { applyExactPipeline, compare, describeExactness } from "../e2e/exactness.ts";
import { inTheMiddle, terminateWriters } from "../e2e/sink-crash.ts";
import { openWorld } from "../world/world.ts";

describe("crashes", () => {
  it("loads every event once when its session ends in the middle of a sink transaction", async () => {
    await using world = await openWorld("solo");
    const path = await applyExactPipeline(world);
    const events = sendNumbered(() => world, path, 50);
    try {
      await inTheMiddle(world, events, () => terminateWriters(world));
      await events.finish(30_000);
      const found = await compare(world, events.acknowledged, 30_000);
      expect(found.isExact, describeExactness(found)).toBe(true);
      expect(found.repeatedAttempts).toBeGreaterThan(0);
    } finally {
      events.abandon();
    }
  });

  it("delivers what it acknowledged, once, after kill -9 under load and a start on the same folder", async () => {
    const outcome = await restartUnderLoad("solo", { ratePerSecond: 200, times: 1, progress: () => undefined }, "kill");
    expect(outcome.ok, outcome.text).toBe(true);
  });
});
