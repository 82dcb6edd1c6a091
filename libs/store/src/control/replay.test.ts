/** Replays of dead letters over the real tables, with the smallest engine that keeps the rules: an event is delivered from the version on that its payload names, and dies before. */
import { randomUUID } from "node:crypto";
import { toBatchId } from "@onedata/core";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { claimRun } from "../claim.ts";
import { releaseRun } from "../release.ts";
import { groupDeadLetters, listDeadLetters } from "./dead-letters.ts";
import { getEvent } from "./events.ts";
import { cancelJob, getJob, listJobs } from "./jobs.ts";
import { runOnce, stepJobs } from "./jobs-testing.ts";
import { actor, many, openJobsWorld, replay } from "./jobs-world.ts";
import { startReplay } from "./replay.ts";

const world = await openJobsWorld();
const { store, engine, pipeline, capture, activate, states, drive } = world;
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(() => world.clear());

describe("a replay", () => {
  it("runs a group again and settles each letter; what dies again stands as a new one", async () => {
    const target = await pipeline();
    await capture(target, [...many(150, 2), ...many(100, 9)]);
    await engine.drain();
    expect(await states(target)).toEqual({ open: 250 });
    const [group] = await groupDeadLetters(store.sql, target.tenantId, { pipeline: target.name });
    expect(group).toMatchObject({ count: 250, sinceVersion: 1 });
    await activate(target, 2);
    const fingerprint = group?.fingerprint ?? "";
    expect(
      await startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { pipeline: target.name, fingerprint }, dryRun: true }),
    ).toMatchObject({
      id: 0n,
      total: 250,
      skipped: 0,
    });
    const job = await startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { fingerprint }, reason: "fixed" });
    expect(job).toMatchObject({
      kind: "replay",
      state: "preparing",
      pipeline: target.name,
      createdBy: "ana",
      description: expect.stringContaining("250 dead letters"),
    });
    expect(await drive(target, job)).toMatchObject({
      state: "done",
      total: 250,
      queued: 250,
      delivered: 150,
      dead: 100,
      filtered: 0,
      skipped: 0,
      generation: 0,
    });
    expect(await states(target)).toEqual({ replayed: 250, open: 100 });
    expect(await groupDeadLetters(store.sql, target.tenantId, { pipeline: target.name })).toMatchObject([{ count: 100, sinceVersion: 2 }]);
    // Again, from the letters of the replay: the first event is still the source.
    await activate(target, 3);
    const again = await startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { pipeline: target.name } });
    expect(await drive(target, again)).toMatchObject({ total: 100, delivered: 0, dead: 100 });
    const [letter] = await listDeadLetters(store.sql, target.tenantId, {
      filter: { pipeline: target.name },
      state: "open",
      limit: 1,
      before: undefined,
    });
    expect((await getEvent(store.sql, target.tenantId, letter?.event ?? { batchId: toBatchId(0n), n: 0 })).attempts).toHaveLength(3);
    const [sources] =
      await store.sql`select count(distinct (src_batch_id, src_n))::int as n from onedata.batch_refs r join onedata.batches b on b.id = r.batch_id
      join onedata.batches s on s.id = r.src_batch_id where b.pipeline_id = ${target.pipelineId} and s.kind = 'capture'`;
    expect(sources).toEqual({ n: 250 });
    expect(await store.sql`select 1 from onedata.job_items where job_id = ${job.id}`).toHaveLength(0);
  });

  it("of two jobs over one group, one gets each letter and the other counts it as skipped", async () => {
    const target = await pipeline();
    await capture(target, many(2_500, 2));
    await engine.drain();
    await activate(target, 2);
    const filter = { pipeline: target.name };
    const jobs = [
      await startReplay(store.sql, target.tenantId, actor, { ...replay, filter }),
      await startReplay(store.sql, target.tenantId, actor, { ...replay, filter }),
    ];
    // Both runners at once, for both jobs.
    for (let i = 0; i < 200; i++) {
      await Promise.all([stepJobs(store.sql), stepJobs(store.sql), engine.once()]);
      if ((await listJobs(store.sql, target.tenantId, { pipeline: target.name, state: "done", limit: 5, before: undefined })).length === 2) break;
    }
    const done = await Promise.all(jobs.map(({ id }) => getJob(store.sql, target.tenantId, id)));
    expect(done.map(({ state }) => state)).toEqual(["done", "done"]);
    expect(done.reduce((sum, job) => sum + job.total, 0)).toBe(2_500);
    expect(done.map((job) => job.total + job.skipped)).toEqual([2_500, 2_500]);
    expect(done.reduce((sum, job) => sum + job.delivered, 0)).toBe(2_500);
    expect(await states(target)).toEqual({ replayed: 2_500 });
    expect(engine.deliveries(target.pipelineId)).toEqual({ events: 2_500, most: 1 });
  });

  it("is cancelled midway: what waits is given back, what runs ends", async () => {
    const target = await pipeline();
    await capture(target, many(3_500, 2));
    await engine.drain();
    await activate(target, 2);
    const job = await startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { pipeline: target.name } });
    while ((await getJob(store.sql, target.tenantId, job.id)).queued < 1_500) await stepJobs(store.sql);
    await runOnce(engine);
    const { run } = await claimRun(store, { runId: randomUUID(), owner: engine.incarnation, deadlineMs: 60_000 });
    const cancelled = await cancelJob(store.sql, target.tenantId, { name: "bo" }, job.id);
    expect(cancelled).toMatchObject({ state: "cancelled", reason: "cancelled by bo", finishedAt: undefined });
    for (let i = 0; i < 30; i++) await stepJobs(store.sql);
    // Not ended before the run has.
    expect((await getJob(store.sql, target.tenantId, job.id)).finishedAt).toBeUndefined();
    if (run === undefined) throw new Error("nothing was claimed");
    await engine.complete(run);
    const ended = await drive(target, job);
    expect(ended).toMatchObject({ state: "cancelled", dead: 0, delivered: ended.queued });
    expect(ended.delivered).toBeGreaterThan(run.events);
    expect(await states(target)).toEqual({ replayed: ended.delivered, open: 3_500 - ended.delivered });
    await expect(cancelJob(store.sql, target.tenantId, actor, job.id)).resolves.toMatchObject({ state: "cancelled", reason: "cancelled by bo" });
  });

  it("keeps the version it named through releases and activations", async () => {
    const target = await pipeline();
    await capture(target, many(10, 2));
    await engine.drain();
    await activate(target, 3);
    await expect(startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { pipeline: target.name }, version: 7 })).rejects.toMatchObject({
      code: "version.not_found",
    });
    const job = await startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { pipeline: target.name }, version: 2 });
    for (let i = 0; i < 4; i++) await stepJobs(store.sql);
    const first = (await claimRun(store, { runId: randomUUID(), owner: engine.incarnation, deadlineMs: 60_000 })).run;
    expect(first?.batches).toMatchObject([{ version: 2, kind: "replay", jobId: job.id, laneClass: "bulk" }]);
    await releaseRun(store, { runId: first?.runId ?? "" });
    expect(await drive(target, job)).toMatchObject({ version: 2, delivered: 10 });
    const [ran] = await store.sql`select distinct version from onedata.runs u join onedata.batches b on b.id = u.batch_id where b.job_id = ${job.id}`;
    expect(ran).toEqual({ version: 2 });
  });

  it("keeps the order of each key, in the shard of its source", async () => {
    const target = await pipeline({ ordering: "key" });
    const keys = Array.from({ length: 40 }, (_, i) => `key-${i}`);
    await capture(
      target,
      Array.from({ length: 1_200 }, (_, i) => ({ from: 2, key: keys[i % keys.length] ?? "" })),
    );
    await engine.drain();
    await activate(target, 2);
    const job = await startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { pipeline: target.name } });
    expect(await drive(target, job)).toMatchObject({ total: 1_200, delivered: 1_200 });
    const [shards] = await store.sql`
      select count(*) filter (where onedata.shard_of(e.ordering_key) <> l.shard)::int as wrong, count(distinct l.shard)::int as shards
        from onedata.batches b join onedata.lanes l on l.id = b.lane_id and l.class = 'bulk' join onedata.batch_refs r on r.batch_id = b.id
        join onedata.events e on e.batch_id = r.src_batch_id and e.n = r.src_n where b.job_id = ${job.id}`;
    expect(shards).toMatchObject({ wrong: 0 });
    expect(Number(shards?.["shards"])).toBeGreaterThan(5);
    for (const key of keys) {
      const order = engine.order(target.pipelineId, key);
      expect(order).toHaveLength(30);
      expect(order).toEqual([...order].sort((a, b) => a - b));
    }
  });

  it("keeps to its rate, counted by the database's clock", async () => {
    const target = await pipeline();
    await capture(target, many(300, 2));
    await engine.drain();
    const job = await startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { pipeline: target.name }, eventsPerSecond: 100 });
    await stepJobs(store.sql);
    await store.sql`update onedata.jobs set allowance = 0, allowance_at = clock_timestamp() + interval '1 hour' where id = ${job.id}`;
    for (let i = 0; i < 5; i++) await stepJobs(store.sql);
    expect((await getJob(store.sql, target.tenantId, job.id)).queued).toBe(0);
    await store.sql`update onedata.jobs set allowance_at = clock_timestamp() - interval '100 milliseconds' where id = ${job.id}`;
    await stepJobs(store.sql);
    const after = (await getJob(store.sql, target.tenantId, job.id)).queued;
    expect(after).toBeGreaterThanOrEqual(10);
    expect(after).toBeLessThan(100);
    // A second's worth at once, however long nobody came.
    await store.sql`update onedata.jobs set allowance_at = clock_timestamp() - interval '1 hour' where id = ${job.id}`;
    await stepJobs(store.sql);
    expect((await getJob(store.sql, target.tenantId, job.id)).queued).toBe(after + 100);
    await store.sql`update onedata.jobs set events_per_second = 0 where id = ${job.id}`;
    expect(await drive(target, job)).toMatchObject({ queued: 300 });
  });

  it("skips what is past retention and leaves its letters open", async () => {
    const target = await pipeline();
    const [first] = await capture(target, many(5, 2));
    await engine.drain();
    await activate(target, 2);
    const job = await startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { pipeline: target.name } });
    await stepJobs(store.sql);
    await store.sql`delete from onedata.events where batch_id = ${first?.batchId ?? 0n} and n < 2`;
    expect(await drive(target, job)).toMatchObject({ state: "done", total: 5, queued: 3, delivered: 3, skipped: 2 });
    expect(await states(target)).toEqual({ open: 2, replayed: 3 });
  });

  it("fails when its pipeline is deleted, and gives back what it holds", async () => {
    const target = await pipeline();
    await capture(target, many(5, 2));
    await engine.drain();
    const job = await startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { pipeline: target.name } });
    await stepJobs(store.sql);
    await store.sql`update onedata.pipelines set state = 'deleting' where id = ${target.pipelineId}`;
    expect(await drive(target, job)).toMatchObject({ state: "failed", reason: "the pipeline was deleted", queued: 0 });
    expect(await states(target)).toEqual({ open: 5 });
    await expect(startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { pipeline: target.name } })).rejects.toMatchObject({
      code: "pipeline.conflict",
    });
  });

  it("asks for a condition, and for one pipeline", async () => {
    const a = await pipeline();
    const b = await pipeline({ tenantId: a.tenantId });
    await capture(a, many(1, 2));
    await capture(b, many(1, 2));
    await engine.drain();
    const start = (filter: object) => startReplay(store.sql, a.tenantId, actor, { ...replay, filter });
    await expect(start({})).rejects.toMatchObject({ code: "request.invalid" });
    await expect(start({ code: "test.dead" })).rejects.toMatchObject({ code: "request.invalid", message: expect.stringContaining(a.name) });
    for (const nobody of [{ version: 4_000_000_000 }, { since: new Date("9999-12-31") }, { until: new Date("0001-01-01") }])
      await expect(start({ ...nobody }), JSON.stringify(nobody)).rejects.toMatchObject({ code: "deadletter.not_found" });
    await expect(start({ code: "none" })).rejects.toMatchObject({ code: "deadletter.not_found" });
    const [letter] = await listDeadLetters(store.sql, a.tenantId, { filter: { pipeline: b.name }, state: "", limit: 1, before: undefined });
    const other = await pipeline();
    const ids = [letter?.id ?? 0n];
    await expect(startReplay(store.sql, other.tenantId, actor, { ...replay, filter: { ids } })).rejects.toMatchObject({
      code: "deadletter.not_found",
    });
    expect(await drive(b, await start({ ids }))).toMatchObject({ pipeline: b.name, total: 1 });
    expect(await drive(b, await start({ ids }))).toMatchObject({ total: 0, skipped: 1, state: "done" });
  });
});

it("replays a group of 10,000, and is never more than fifty batches ahead", async () => {
  const target = await pipeline();
  await capture(target, many(10_000, 2));
  await engine.drain();
  await activate(target, 2);
  const job = await startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { pipeline: target.name } });
  while (await stepJobs(store.sql));
  expect(await getJob(store.sql, target.tenantId, job.id)).toMatchObject({ state: "running", total: 10_000, queued: 5_000 });
  expect(await drive(target, job)).toMatchObject({ state: "done", delivered: 10_000 });
  expect(await states(target)).toEqual({ replayed: 10_000 });
});
