/**
 * For tests of jobs: an engine that decides by the payload (`{"from": v}` is delivered from version v on, and dies before) and remembers what it delivered,
 * and the runner's steps. Non-duty: production code never imports this.
 */
import { randomUUID } from "node:crypto";
import { type BatchId, type EventId, fingerprintOf, type TenantId } from "@onedata/core";
import { type ClaimedRun, claimRun } from "../claim.ts";
import { completeRun } from "../complete.ts";
import type { Sql, Store } from "../connection.ts";
import { loadEvents } from "../events.ts";
import { workSome } from "./job-batches.ts";
import { listSome } from "./job-list.ts";
import { getJob, type JobRow, listOpenJobs, purgeEndedJobs } from "./jobs.ts";

export type Delivered = { readonly payload: string; readonly source: EventId; readonly generation: number };

export interface TestEngine {
  readonly incarnation: string;
  /** Claims and completes once; returns how many events. */
  once(): Promise<number>;
  complete(run: ClaimedRun): Promise<void>;
  /** Until nothing waits. */
  drain(): Promise<void>;
  /** What was run last. */
  last(pipelineId: bigint): Delivered | undefined;
  /** How many (event, generation) were delivered, and how often at most. */
  deliveries(pipelineId: bigint): { events: number; most: number };
  /** `i` of the delivered events of a key, in the order of their runs. */
  order(pipelineId: bigint, key: string): number[];
}

type Record = { readonly from: number; readonly i: number };
const read = (payload: string): Record => JSON.parse(payload) as Record;

export function createTestEngine(store: Store, incarnation: string): TestEngine {
  const lasts = new Map<bigint, Delivered>();
  const counts = new Map<bigint, Map<string, number>>();
  const orders = new Map<string, number[]>();
  const engine: TestEngine = {
    incarnation,
    async once() {
      const { run } = await claimRun(store, { runId: randomUUID(), owner: incarnation, deadlineMs: 60_000 });
      if (run === undefined) return 0;
      await engine.complete(run);
      return run.events;
    },
    async complete(run) {
      const events = await loadEvents(store, run.batches);
      const batches = run.batches.map((batch) => {
        const own = events.get(batch.batchId) ?? [];
        const verdicts = new Uint8Array(Math.max(0, ...own.map(({ n }) => n + 1)));
        for (const { n, payload } of own) verdicts[n] = read(payload).from <= batch.version ? 1 : 2;
        const dead = own.filter(({ n }) => verdicts[n] === 2);
        return {
          own,
          completed: {
            ...batch,
            orderedLaneId: batch.ordered ? batch.laneId : undefined,
            verdicts,
            counts: { delivered: own.length - dead.length, filtered: 0, dead: dead.length },
            deadLetters: dead.map(({ n, payload }) => {
              const cause = { step: "check", code: "test.dead", message: "too early" };
              return { n, ...cause, fingerprint: fingerprintOf(cause), payload };
            }),
          },
        };
      });
      const kept: ReadonlySet<BatchId> = await completeRun(store, {
        runId: run.runId,
        engine: incarnation,
        wokenBy: "test",
        durationMs: 1,
        batches: batches.map(({ completed }) => completed),
      });
      for (const { own, completed } of batches.sort((a, b) => Number(a.completed.seq - b.completed.seq))) {
        if (!kept.has(completed.batchId)) continue;
        const seen = counts.get(completed.pipelineId) ?? new Map<string, number>();
        counts.set(completed.pipelineId, seen);
        for (const { n, payload, source, orderingKey } of own) {
          lasts.set(completed.pipelineId, { payload, source, generation: completed.generation });
          if (completed.verdicts[n] !== 1) continue;
          const key = `${source.batchId}_${source.n}_${completed.generation}`;
          seen.set(key, (seen.get(key) ?? 0) + 1);
          if (orderingKey === undefined) continue;
          const lane = `${completed.pipelineId} ${orderingKey}`;
          orders.set(lane, [...(orders.get(lane) ?? []), read(payload).i]);
        }
      }
    },
    async drain() {
      while ((await engine.once()) > 0);
    },
    last: (pipelineId) => lasts.get(pipelineId),
    deliveries(pipelineId) {
      const seen = [...(counts.get(pipelineId)?.values() ?? [])];
      return { events: seen.length, most: Math.max(0, ...seen) };
    },
    order: (pipelineId, key) => orders.get(`${pipelineId} ${key}`) ?? [],
  };
  return engine;
}

export const runOnce = (engine: TestEngine): Promise<number> => engine.once();

/** One step of each open job. Returns whether any moved. */
export async function stepJobs(sql: Sql): Promise<boolean> {
  let moved = false;
  for (const job of await listOpenJobs(sql)) {
    const step = job.state === "preparing" ? listSome : workSome;
    if (await step(sql, job.tenantId, job.id)) moved = true;
  }
  return moved || (await purgeEndedJobs(sql)) > 0;
}

/** Runner and engine in turn, until the job has ended. */
export async function driveJob(store: Store, engine: TestEngine, tenantId: TenantId, id: bigint): Promise<JobRow> {
  for (let idle = 0; idle < 20; ) {
    const moved = await stepJobs(store.sql);
    const ran = await engine.once();
    idle = moved || ran > 0 ? 0 : idle + 1;
    const job = await getJob(store.sql, tenantId, id);
    if (job.finishedAt !== undefined && !moved && ran === 0) return job;
  }
  throw new Error(
    `the job does not end: ${JSON.stringify(await getJob(store.sql, tenantId, id), (_, v: unknown) => (typeof v === "bigint" ? String(v) : v))}`,
  );
}
