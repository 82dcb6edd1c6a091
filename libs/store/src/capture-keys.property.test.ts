/**
 * Idempotency keys against a model: whatever two writers put into their groups, and whatever was stored before, one event stands per key; whoever sent its
 * body gets its id, everybody else is told of the conflict.
 */
import { toBatchId } from "@onedata/core";
import fc from "fast-check";
import { expect, it } from "vitest";
import { type CaptureOutcome, type CaptureRequest, captureGroup } from "./capture.ts";
import type { CaptureTarget } from "./capture-batches.ts";
import type { Store } from "./connection.ts";
import { pipeline, useHotPath } from "./hot-path-testing.ts";

let store: Store;
useHotPath((made) => ({ store } = made));

type Sent = { readonly idempotencyKey: string; readonly payload: string };

const sent = fc.record({ idempotencyKey: fc.constantFrom("a", "b", "c"), payload: fc.constantFrom("0", "1", "2") });
const group = fc.array(fc.array(sent, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 8 });
const scenario = fc.record({
  stored: fc.array(sent, { maxLength: 2 }),
  writers: fc.tuple(fc.array(group, { maxLength: 3 }), fc.array(group, { maxLength: 3 })),
});

/** As a caller does: what is busy (the other writer held the key for longer than a statement waits) is sent again. */
async function send(target: CaptureTarget, requests: readonly (readonly Sent[])[]): Promise<[Sent, CaptureOutcome][]> {
  const toRequest = (events: readonly Sent[]): CaptureRequest => ({ target, events });
  const outcomes = (await captureGroup(store, requests.map(toRequest))).flat();
  const answers: [Sent, CaptureOutcome][] = [];
  for (const [i, event] of requests.flat().entries()) {
    let outcome = outcomes[i];
    while (outcome?.kind === "busy") outcome = (await captureGroup(store, [toRequest([event])])).flat()[0];
    if (outcome === undefined) throw new Error("an event has no outcome");
    answers.push([event, outcome]);
  }
  return answers;
}

async function readEvents({ pipelineId }: CaptureTarget): Promise<Map<string, string>> {
  const rows = await store.sql<{ batch_id: bigint; n: number; payload: string }[]>`
    select e.batch_id, e.n, e.payload from onedata.events e join onedata.batches b on b.id = e.batch_id where b.pipeline_id = ${pipelineId}`;
  return new Map(rows.map((row) => [`${toBatchId(row.batch_id)}:${row.n}`, row.payload]));
}

it("keeps one event per key and answers each body by what is stored", async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async ({ stored, writers }) => {
      const target = await pipeline();
      const answers: [Sent, CaptureOutcome][] = [];
      for (const event of stored) answers.push(...(await send(target, [[event]])));
      const write = async (groups: readonly Sent[][][]): Promise<void> => {
        for (const requests of groups) answers.push(...(await send(target, requests)));
      };
      await Promise.all(writers.map(write));

      const events = await readEvents(target);
      const winners = new Map<string, { readonly id: string; readonly payload: string }>();
      for (const [{ idempotencyKey, payload }, outcome] of answers)
        if (outcome.kind === "captured" && !outcome.duplicate) {
          expect(winners.has(idempotencyKey), `${idempotencyKey} has two first events`).toBe(false);
          winners.set(idempotencyKey, { id: `${outcome.batchId}:${outcome.n}`, payload });
        }
      expect(events).toEqual(new Map([...winners.values()].map(({ id, payload }) => [id, payload])));
      const told = ([{ idempotencyKey, payload }, outcome]: [Sent, CaptureOutcome]): unknown => [
        idempotencyKey,
        payload,
        outcome.kind === "captured" ? `${outcome.batchId}:${outcome.n}` : outcome.kind,
      ];
      const model = ([{ idempotencyKey, payload }]: [Sent, CaptureOutcome]): unknown => {
        const winner = winners.get(idempotencyKey);
        return [idempotencyKey, payload, winner?.payload === payload ? winner.id : "conflict"];
      };
      expect(answers.map(told)).toEqual(answers.map(model));
    }),
    { numRuns: 60 },
  );
}, 120_000);
