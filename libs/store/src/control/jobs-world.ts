/** For tests of jobs: a database of its own with the test engine alive in it, and what their tests do over and over. Non-duty: production code never imports this. */
import { randomUUID } from "node:crypto";
import type { EventId, TenantId } from "@onedata/core";
import { captureGroup } from "../capture.ts";
import type { CaptureTarget } from "../capture-batches.ts";
import { openStore, type Store } from "../connection.ts";
import { registerEngine } from "../lease.ts";
import { createTestPipeline, openTestDatabase } from "../testing.ts";
import type { JobRow } from "./jobs.ts";
import { createTestEngine, driveJob, type TestEngine } from "./jobs-testing.ts";

export type Pipe = CaptureTarget & { readonly name: string };

export interface JobsWorld extends AsyncDisposable {
  readonly store: Store;
  readonly engine: TestEngine;
  /** Ends what other tests left open. */
  readonly clear: () => Promise<void>;
  /** With versions 1 (active), 2 and 3. */
  readonly pipeline: (options?: { ordering?: string; tenantId?: TenantId }) => Promise<Pipe>;
  /** `from`: the first version that delivers it. */
  readonly capture: (target: Pipe, events: readonly { from: number; key?: string }[]) => Promise<EventId[]>;
  readonly activate: (target: Pipe, version: number) => Promise<void>;
  /** Dead letters of the pipeline by state. */
  readonly states: (target: Pipe) => Promise<Record<string, number>>;
  /** Runner and engine in turn, until the job has ended. */
  readonly drive: (target: Pipe, job: JobRow) => Promise<JobRow>;
}

export const actor = { name: "ana" };
export const replay = { version: 0, eventsPerSecond: 0, reason: "", dryRun: false } as const;
export const many = (count: number, from: number): { from: number }[] => Array.from({ length: count }, () => ({ from }));

export async function openJobsWorld(): Promise<JobsWorld> {
  const database = await openTestDatabase();
  const store = openStore(database.url);
  const incarnation = randomUUID();
  await registerEngine(store, { incarnation, slots: 2, leaseMs: 3_600_000 });
  const engine = createTestEngine(store, incarnation);
  return {
    store,
    engine,
    async clear() {
      await store.sql`truncate onedata.queue`;
      await store.sql`update onedata.jobs set finished_at = now() where finished_at is null`;
    },
    async pipeline(options = {}) {
      const { name, tenantId, pipelineId } = await createTestPipeline(store.sql, options);
      for (const version of [2, 3])
        await store.sql`insert into onedata.pipeline_versions (pipeline_id, version, hash, spec, plan, route) values (${pipelineId}, ${version}, ${`v${version}`}, '{}', '{}', 'record')`;
      return { name, tenantId, pipelineId, version: 1, laneClass: "live", ordered: options.ordering !== undefined };
    },
    async capture(target, events) {
      const outcomes = await captureGroup(
        store,
        Array.from({ length: Math.ceil(events.length / 100) }, (_, i) => ({
          target,
          events: events
            .slice(i * 100, i * 100 + 100)
            .map(({ from, key }, k) => ({ payload: JSON.stringify({ from, i: i * 100 + k }), ...(key === undefined ? {} : { orderingKey: key }) })),
        })),
      );
      return outcomes.flat().map((outcome) => {
        if (outcome.kind !== "captured") throw new Error("not captured");
        return { batchId: outcome.batchId, n: outcome.n };
      });
    },
    async activate(target, version) {
      await store.sql`update onedata.pipelines set active_version = ${version} where tenant_id = ${target.tenantId} and id = ${target.pipelineId}`;
    },
    async states(target) {
      const rows = await store.sql<
        { state: string; n: number }[]
      >`select state, count(*)::int as n from onedata.dead_letters where tenant_id = ${target.tenantId} and pipeline_id = ${target.pipelineId} group by 1`;
      return Object.fromEntries(rows.map(({ state, n }) => [state, n]));
    },
    drive: (target, job) => driveJob(store, engine, target.tenantId, job.id),
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}
