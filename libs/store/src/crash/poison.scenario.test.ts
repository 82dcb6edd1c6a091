/** An event that ends every engine that takes it, and runs that are given back: no connection is cut here. */
import { randomUUID } from "node:crypto";
import type { LaneId, PipelineId } from "@onedata/core";
import fc from "fast-check";
import { expect, it } from "vitest";
import { claimRun } from "../claim.ts";
import { releaseRun } from "../release.ts";
import { Crash, type Kind, perform } from "./model-engine.ts";
import { admin, captureLayout, check, ENGINES, expireAll, LAYOUT, stores, useTwoEngines } from "./two-engines.ts";

useTwoEngines();

it("finds what crashes engines, by pieces, whatever else is in its batch", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 60 }), fc.double({ min: 0, max: 0.999, noNaN: true }), fc.boolean(), async (size, where, ordered) => {
      const poison = Math.floor(where * size);
      await admin.sql`delete from onedata.queue`;
      const kinds = Array.from({ length: size }, (): Kind => "ok");
      const expected = await captureLayout({ plain: ordered ? [] : [kinds], ordered: ordered ? [kinds.map(() => "ok" as const)] : [] });
      const payload = (pipelineId: PipelineId) => admin.sql`
          update onedata.events e set payload = (e.payload::jsonb || '{"crashes":true}')::text from onedata.batches b
           where b.id = e.batch_id and b.pipeline_id = ${pipelineId} and (e.payload::json->>'position')::int = ${poison}`;
      for (const pipelineId of expected.keys()) await payload(pipelineId);
      for (let i = 0; i < 400 && (await admin.sql`select 1 from onedata.queue limit 1`).length > 0; i++) {
        for (const suspect of [false, true]) {
          await perform(stores[0], ENGINES[0], () => Promise.resolve(), suspect).catch((error: unknown) => {
            if (!(error instanceof Crash)) throw error;
          });
          await expireAll();
        }
      }
      for (const [pipelineId, own] of expected) await check(pipelineId, own);
      const letters = await admin.sql`
          select (d.payload::json->>'position')::int as position from onedata.dead_letters d where d.code = 'record.crashes' and d.pipeline_id = any(${`{${[...expected.keys()].join(",")}}`}::bigint[])`;
      expect(letters).toEqual([{ position: poison }]);
    }),
    { numRuns: 15 },
  );
});

it("gives back on release what the next claim takes, once", async () => {
  await admin.sql`delete from onedata.queue`;
  const expected = await captureLayout(LAYOUT);
  const { run } = await claimRun(stores[0], { runId: randomUUID(), owner: ENGINES[0], deadlineMs: 60_000 });
  expect(run).toBeDefined();
  const lanes = (): Promise<readonly { id: LaneId }[]> =>
    admin.sql<{ id: LaneId }[]>`select lane_id as id from onedata.lane_runs where run_id is not null`;
  expect((await lanes()).length).toBe(2);
  await releaseRun(stores[0], { runId: run?.runId ?? "" });
  expect(await lanes()).toHaveLength(0);
  while (await perform(stores[1], ENGINES[1], () => Promise.resolve()));
  for (const [pipelineId, kinds] of expected) await check(pipelineId, kinds);
});
