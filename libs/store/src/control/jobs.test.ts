/** Replays of one event, discards, and letters that a job left behind, over the real tables, with the smallest engine that keeps the rules: an event is delivered from the version on that its payload names, and dies before. */
import { type EventId, type TenantId, toBatchId } from "@onedata/core";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { removeDrained } from "./backlog.ts";
import { getDeadLetter, groupDeadLetters, listDeadLetters } from "./dead-letters.ts";
import { listEventDeliveries } from "./event-deliveries.ts";
import { stepJobs } from "./jobs-testing.ts";
import { actor, many, openJobsWorld, type Pipe, replay } from "./jobs-world.ts";
import { startDiscard, startEventReplay, startReplay } from "./replay.ts";
import { settleStrandedLetters } from "./stranded-letters.ts";

const world = await openJobsWorld();
const { store, engine, pipeline, capture, activate, states, drive } = world;
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(() => world.clear());

describe("a replay of one event", () => {
  const start = (target: Pipe, event: EventId, options: { payload?: string; version?: number } = {}) =>
    startEventReplay(store.sql, target.tenantId, actor, { event, payload: options.payload, version: options.version ?? 0, reason: "" });

  it("that is dead keeps its generation; an edited payload goes in its place and stays, the source too", async () => {
    const target = await pipeline();
    const [event] = await capture(target, many(1, 5));
    if (event === undefined) throw new Error("no event");
    await expect(start(target, event)).rejects.toMatchObject({ code: "event.not_done" });
    await engine.drain();
    const job = await start(target, event, { payload: '{"from":3,"edited":true}' });
    expect(job).toMatchObject({ state: "running", total: 1, generation: 0 });
    await expect(start(target, event)).rejects.toMatchObject({ code: "event.conflict" });
    expect(await drive(target, job)).toMatchObject({ dead: 1 });
    expect(engine.last(target.pipelineId)).toMatchObject({ payload: '{"from":3,"edited":true}', source: event, generation: 0 });
    await activate(target, 3);
    expect(await drive(target, await start(target, event))).toMatchObject({ delivered: 1 });
    expect(engine.last(target.pipelineId)).toMatchObject({ payload: '{"from":3,"edited":true}', source: event, generation: 0 });
    expect(await states(target)).toEqual({ replayed: 2 });
    expect(await listEventDeliveries(store.sql, target.tenantId, event)).toMatchObject([
      { jobId: job.id, kind: "replay", state: "done", verdict: 2, edited: true, version: 1 },
      { state: "done", verdict: 1, edited: true, version: 3 },
    ]);
    const [audit] = await store.sql<{ principal: string; detail: string }[]>`
      select principal, detail::text from onedata.audit where tenant_id = ${target.tenantId} and action = 'ReplayEvent' order by id limit 1`;
    expect(audit).toMatchObject({ principal: "ana", detail: expect.stringContaining("payloadSha256") });
  });

  it("that was delivered takes a generation of its own", async () => {
    const target = await pipeline();
    const [event] = await capture(target, many(1, 1));
    if (event === undefined) throw new Error("no event");
    await engine.drain();
    expect(await drive(target, await start(target, event))).toMatchObject({ generation: 1, delivered: 1 });
    expect(await drive(target, await start(target, event))).toMatchObject({ generation: 2, delivered: 1 });
    expect(engine.last(target.pipelineId)).toMatchObject({ source: event, generation: 2 });
    // The place of a replay is no event.
    const [copy] = await store.sql<{ batch_id: bigint }[]>`select batch_id from onedata.batch_refs where src_batch_id = ${event.batchId} limit 1`;
    await expect(start(target, { batchId: toBatchId(copy?.batch_id ?? 0n), n: 0 })).rejects.toMatchObject({ code: "event.not_found" });
    const other = await pipeline();
    await expect(start(other, event)).rejects.toMatchObject({ code: "event.not_found" });
  });
});

describe("a discard", () => {
  it("gives letters up with a reason, as a job", async () => {
    const target = await pipeline();
    await capture(target, many(2_300, 9));
    await engine.drain();
    const job = await startDiscard(store.sql, target.tenantId, actor, { filter: { pipeline: target.name }, reason: "test data", dryRun: false });
    expect(job).toMatchObject({ kind: "discard", total: 2_300 });
    expect(await drive(target, job)).toMatchObject({ kind: "discard", state: "done", total: 2_300, queued: 2_300, skipped: 0 });
    expect(await states(target)).toEqual({ discarded: 2_300 });
    const [row] = await store.sql<{ id: bigint }[]>`select id from onedata.dead_letters where pipeline_id = ${target.pipelineId} limit 1`;
    expect(await getDeadLetter(store.sql, target.tenantId, row?.id ?? 0n)).toMatchObject({ state: "discarded", reason: "test data", jobId: job.id });
    expect(await groupDeadLetters(store.sql, target.tenantId, { pipeline: target.name })).toEqual([]);
  });

  it("reaches letters of a removed pipeline, which nothing can run again", async () => {
    const target = await pipeline();
    const standing = await pipeline({ tenantId: target.tenantId });
    await capture(target, many(3, 9));
    await engine.drain();
    await store.sql`update onedata.pipelines set state = 'deleting', state_changed_at = now() - interval '1 hour' where id = ${target.pipelineId}`;
    expect(await removeDrained(store.sql, target.tenantId, { name: target.name, graceSeconds: 0 })).toBe(true);
    const [group] = await groupDeadLetters(store.sql, target.tenantId, { pipeline: "" });
    expect(group).toMatchObject({ count: 3, example: { pipeline: "" } });
    const filter = { fingerprint: group?.fingerprint ?? "" };
    await expect(startReplay(store.sql, target.tenantId, actor, { ...replay, filter })).rejects.toMatchObject({
      code: "deadletter.not_found",
      message: expect.stringContaining("discarded"),
    });
    const discard = (tenantId: TenantId, dryRun: boolean) => startDiscard(store.sql, tenantId, actor, { filter, reason: "gone", dryRun });
    await expect(discard((await pipeline()).tenantId, false)).rejects.toMatchObject({ code: "deadletter.not_found" });
    expect(await discard(target.tenantId, true)).toMatchObject({ id: 0n, pipeline: "", total: 3 });
    const job = await discard(target.tenantId, false);
    expect(job).toMatchObject({ pipeline: "", description: expect.stringContaining("3 dead letters of a removed pipeline") });
    expect(await drive(target, job)).toMatchObject({ state: "done", queued: 3, skipped: 0 });
    expect(await states(target)).toEqual({ discarded: 3 });
    await expect(discard(target.tenantId, false)).rejects.toMatchObject({ code: "deadletter.not_found" });
    // What still exists comes first.
    await capture(standing, many(1, 9));
    await engine.drain();
    expect(await discard(target.tenantId, true)).toMatchObject({ pipeline: standing.name, total: 1 });
  });
});

it("settles letters that a job has left behind, by what became of their replays", async () => {
  const target = await pipeline();
  await capture(target, many(4, 2));
  await engine.drain();
  await activate(target, 2);
  const [first] = await listDeadLetters(store.sql, target.tenantId, { filter: { pipeline: target.name }, state: "", limit: 1, before: undefined });
  const job = await drive(target, await startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { ids: [first?.id ?? 0n] } }));
  // By hand: what was replayed, and what never was.
  await store.sql`update onedata.dead_letters set state = 'replaying', job_id = ${job.id} where pipeline_id = ${target.pipelineId}`;
  expect(await settleStrandedLetters(store.sql)).toBe(4);
  expect(await states(target)).toEqual({ replayed: 1, open: 3 });
  expect(await settleStrandedLetters(store.sql)).toBe(0);
  const open = await startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { pipeline: target.name } });
  await stepJobs(store.sql);
  expect(await settleStrandedLetters(store.sql)).toBe(0);
  expect(await drive(target, open)).toMatchObject({ delivered: 3 });
});
