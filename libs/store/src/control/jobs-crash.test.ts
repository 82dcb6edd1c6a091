/**
 * The runner of jobs, killed between any two of its statements, by itself or beside another, with events that die again, cancellations and releases in between:
 * afterwards every event of a list has exactly one verdict or was given back, no letter is stuck, and all counts agree.
 */
import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { captureGroup } from "../capture.ts";
import { claimRun } from "../claim.ts";
import { openStore, type Sql, type Store } from "../connection.ts";
import { registerEngine } from "../lease.ts";
import { releaseRun } from "../release.ts";
import { createTestPipeline, openTestDatabase, type TestDatabase } from "../testing.ts";
import { cancelJob, getJob } from "./jobs.ts";
import { createTestEngine, driveJob, stepJobs, type TestEngine } from "./jobs-testing.ts";
import { startDiscard, startReplay } from "./replay.ts";

let database: TestDatabase;
let store: Store;
let engine: TestEngine;
const actor = { name: "ana" };

beforeAll(async () => {
  database = await openTestDatabase();
  store = openStore(database.url);
  const incarnation = randomUUID();
  await registerEngine(store, { incarnation, slots: 2, leaseMs: 3_600_000 });
  engine = createTestEngine(store, incarnation);
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

class Crash extends Error {}

/** The same connections, but the process dies before its `at`-th statement of a transaction, or, past the last one, after the commit. */
function dyingSql(sql: Sql, at: number): Sql {
  let left = at;
  const dieAt = (): void => {
    left -= 1;
    if (left < 0) throw new Crash();
  };
  const counted = <T extends object>(target: T): T =>
    new Proxy(target, {
      apply(fn, self, args: unknown[]) {
        // Fragments are no statements: only what is awaited is sent; a template is one or the other, and a crash before either is a crash.
        dieAt();
        return Reflect.apply(fn as unknown as (...values: unknown[]) => unknown, self, args);
      },
    });
  return new Proxy(sql, {
    get(target, name, receiver) {
      if (name !== "begin") return Reflect.get(target, name, receiver);
      return async (work: (tx: object) => Promise<unknown>): Promise<unknown> => {
        const result = await target.begin((tx) => work(counted(tx)));
        dieAt();
        return result;
      };
    },
  });
}

type Act =
  | { readonly kind: "step"; readonly dieAt: number }
  | { readonly kind: "both"; readonly dieAt: number }
  | { readonly kind: "run" }
  | { readonly kind: "release" }
  | { readonly kind: "cancel"; readonly job: number }
  | { readonly kind: "discard" };

const act: fc.Arbitrary<Act> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("step" as const), dieAt: fc.nat(24) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("both" as const), dieAt: fc.nat(24) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("run" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("release" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("cancel" as const), job: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("discard" as const) }) },
);

/** A dying step of every open job. */
async function stepAndDie(dieAt: number): Promise<void> {
  await stepJobs(dyingSql(store.sql, dieAt)).catch((error: unknown) => {
    if (!(error instanceof Crash)) throw error;
  });
}

async function scenario(isOrdered: boolean, sizes: readonly number[], acts: readonly Act[]): Promise<void> {
  const { tenantId, pipelineId, name } = await createTestPipeline(store.sql, isOrdered ? { ordering: "key" } : {});
  await store.sql`insert into onedata.pipeline_versions (pipeline_id, version, hash, spec, plan, route) values (${pipelineId}, 2, 'v2', '{}', '{}', 'record')`;
  const target = { tenantId, pipelineId, version: 1, laneClass: "live", ordered: isOrdered } as const;
  // A third of them dies again.
  const groups = sizes.map((size, g) => ({
    target,
    events: Array.from({ length: size }, (_, i) => ({
      payload: JSON.stringify({ from: i % 3 === 0 ? 9 : 2, i: g * 1000 + i }),
      ...(isOrdered ? { orderingKey: `k${i % 7}` } : {}),
    })),
  }));
  await captureGroup(store, groups);
  const captured = sizes.reduce((sum, size) => sum + size, 0);
  await engine.drain();
  await store.sql`update onedata.pipelines set active_version = 2 where id = ${pipelineId}`;
  const filter = { pipeline: name };
  const options = { filter, version: 0, eventsPerSecond: 0, reason: "", dryRun: false };
  const jobs = [await startReplay(store.sql, tenantId, actor, options), await startReplay(store.sql, tenantId, actor, options)];
  const done = acts.map((one) => one.kind);
  for (const one of acts) {
    if (one.kind === "step") await stepAndDie(one.dieAt);
    else if (one.kind === "both") await Promise.all([stepAndDie(one.dieAt), stepAndDie(1_000)]);
    else if (one.kind === "run") await engine.once();
    else if (one.kind === "release") {
      const { run } = await claimRun(store, { runId: randomUUID(), owner: engine.incarnation, deadlineMs: 60_000, maxEvents: 150 });
      if (run !== undefined) await releaseRun(store, { runId: run.runId });
    } else if (one.kind === "cancel") await cancelJob(store.sql, tenantId, actor, jobs[one.job]?.id ?? 0n).catch(() => undefined);
    else await startDiscard(store.sql, tenantId, actor, { filter, reason: "enough", dryRun: false });
  }
  for (const { id } of jobs) await driveJob(store, engine, tenantId, id);
  const ended = await Promise.all(jobs.map(({ id }) => getJob(store.sql, tenantId, id)));

  const [letters] = await store.sql<{ replaying: number; open: number; replayed: number; discarded: number; total: number }[]>`
    select count(*) filter (where state = 'replaying')::int as replaying, count(*) filter (where state = 'open')::int as open,
           count(*) filter (where state = 'replayed')::int as replayed, count(*) filter (where state = 'discarded')::int as discarded, count(*)::int as total
      from onedata.dead_letters where pipeline_id = ${pipelineId}`;
  expect(letters?.replaying, "letters that are stuck").toBe(0);
  const delivered = ended.reduce((sum, job) => sum + job.delivered, 0);
  const dead = ended.reduce((sum, job) => sum + job.dead, 0);
  for (const job of ended) expect(job.queued, `verdicts of the ${job.state} job after ${done.join()}`).toBe(job.delivered + job.filtered + job.dead);
  expect(letters?.total, "a letter per death").toBe(captured + dead);
  expect(letters?.replayed, "a letter that was replayed per verdict").toBe(delivered + dead);
  // Each event stands in one place: delivered, open, or given up.
  expect((letters?.open ?? 0) + (letters?.discarded ?? 0) + delivered, "each event once").toBe(captured);
  expect(engine.deliveries(pipelineId)).toEqual({ events: delivered, most: delivered === 0 ? 0 : 1 });
  const [copies] = await store.sql<{ twice: number; queued: number }[]>`
    select (select count(*)::int from (select r.src_batch_id, r.src_n, b.job_id from onedata.batch_refs r join onedata.batches b on b.id = r.batch_id
              where b.pipeline_id = ${pipelineId} group by 1, 2, 3 having count(*) > 1) x) as twice,
           (select count(*)::int from onedata.queue q join onedata.lanes l on l.id = q.lane_id where l.pipeline_id = ${pipelineId}) as queued`;
  expect(copies, "copies of one event in one job, and batches left").toEqual({ twice: 0, queued: 0 });
}

it("hands out each event once and leaves no letter behind, whoever dies when", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.boolean(),
      fc.array(fc.integer({ min: 1, max: 450 }), { minLength: 1, maxLength: 4 }),
      fc.array(act, { maxLength: 25 }),
      scenario,
    ),
    { numRuns: Number(process.env["JOB_CRASHES"] ?? 25), endOnFailure: true },
  );
}, 300_000);

it("ends a list of every length when it is killed at each of its statements in turn", async () => {
  for (let dieAt = 0; dieAt < 24; dieAt++)
    await scenario(
      dieAt % 2 === 1,
      [120, 30],
      Array.from({ length: 4 }, (): Act[] => [{ kind: "step", dieAt }, { kind: "both", dieAt }, { kind: "run" }]).flat(),
    );
}, 300_000);
