/** What a completion leaves behind. */
import { describe, expect, it } from "vitest";
import type { Store } from "./connection.ts";
import { capture, claim, complete, delivered, pipeline, useHotPath } from "./hot-path-testing.ts";

let store: Store;
useHotPath((made) => ({ store } = made));

describe("completions", () => {
  it("returns a partly done batch with its progress and delay", async () => {
    const target = await pipeline();
    await capture(target, "1", "2", "3");
    const run = await claim();
    if (run === undefined) throw new Error("no run");
    await complete(
      run,
      run.batches.map((batch) =>
        delivered(batch, {
          verdicts: Uint8Array.of(1, 0, 1),
          counts: { delivered: 2, filtered: 0, dead: 0 },
          left: { progress: [{ n: 1, tries: 1, sinksDone: ["a"] }], bytes: 1, delayMs: 60_000 },
        }),
      ),
    );
    expect(await claim()).toBeUndefined();
    await store.sql`update onedata.queue set available_at = now()`;
    const again = await claim();
    expect(again?.batches[0]).toMatchObject({ n: 1, attempt: 2, progress: [{ n: 1, tries: 1, sinksDone: ["a"] }] });
    if (again !== undefined) await complete(again);
    expect((await store.sql`select count(*)::int c from onedata.runs where batch_id = ${run.batches[0]?.batchId ?? 0n}`)[0]?.["c"]).toBe(2);
  });
});
