/** For tests of the hot path: a database of the file's own, an engine, and the verbs of a run. Registers the file's hooks; the queue is empty before each test. */
import { randomUUID } from "node:crypto";
import type { BatchId } from "@onedata/core";
import { afterAll, beforeAll, beforeEach } from "vitest";
import { type CaptureOutcome, captureGroup } from "./capture.ts";
import type { CaptureTarget } from "./capture-batches.ts";
import { type ClaimedBatch, type ClaimedRun, claimRun } from "./claim.ts";
import { type CompletedBatch, completeRun } from "./complete.ts";
import { openStore, type Store } from "./connection.ts";
import { registerEngine } from "./lease.ts";
import { createTestPipeline, openTestDatabase, type TestDatabase, type TestPipelineOptions } from "./testing.ts";

export const engine = randomUUID();

let database: TestDatabase;
let store: Store;

/** `ready` gets them before the first test. */
export function useHotPath(ready: (made: { readonly database: TestDatabase; readonly store: Store }) => void): void {
  beforeAll(async () => {
    database = await openTestDatabase();
    store = openStore(database.url);
    await registerEngine(store, { incarnation: engine, slots: 2, leaseMs: 60_000 });
    ready({ database, store });
  });
  afterAll(async () => {
    await store[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    await store.sql`truncate onedata.queue`;
  });
}

export async function pipeline(options: TestPipelineOptions = {}): Promise<CaptureTarget> {
  const made = await createTestPipeline(store.sql, options);
  return { tenantId: made.tenantId, pipelineId: made.pipelineId, version: 1, laneClass: "live", ordered: options.ordering !== undefined };
}

export const capture = async (target: CaptureTarget, ...payloads: string[]): Promise<CaptureOutcome[]> =>
  (await captureGroup(store, [{ target, events: payloads.map((payload) => ({ payload })) }])).flat();

export const claim = async (options: Partial<Parameters<typeof claimRun>[1]> = {}): Promise<ClaimedRun | undefined> =>
  (await claimRun(store, { runId: randomUUID(), owner: engine, deadlineMs: 60_000, ...options })).run;

export const delivered = (batch: ClaimedBatch, extra: Partial<CompletedBatch> = {}): CompletedBatch => ({
  ...batch,
  orderedLaneId: batch.ordered ? batch.laneId : undefined,
  verdicts: new Uint8Array(batch.n).fill(1),
  counts: { delivered: batch.n, filtered: 0, dead: 0 },
  ...extra,
});
export const complete = (
  run: ClaimedRun,
  batches: readonly CompletedBatch[] = run.batches.map((batch) => delivered(batch)),
): Promise<ReadonlySet<BatchId>> => completeRun(store, { runId: run.runId, engine, wokenBy: "test", durationMs: 5, batches });
