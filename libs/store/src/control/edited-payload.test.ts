/** What was edited stays edited, whatever runs the event again: over the real tables, with the engine that decides by the payload. */
import type { EventId } from "@onedata/core";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { startBackfill } from "./backfill.ts";
import { cancelJob, type JobRow } from "./jobs.ts";
import { stepJobs } from "./jobs-testing.ts";
import { actor, many, openJobsWorld, type Pipe, replay } from "./jobs-world.ts";
import { readLastEvents } from "./last-events.ts";
import { readLetterSources } from "./letter-sources.ts";
import { startEventReplay, startReplay } from "./replay.ts";

const world = await openJobsWorld();
const { store, engine, pipeline, capture, activate, states, drive } = world;
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(() => world.clear());

const edit = (target: Pipe, event: EventId, payload?: string): Promise<JobRow> =>
  startEventReplay(store.sql, target.tenantId, actor, { event, payload, version: 0, reason: "" });

const backfill = (target: Pipe, eventsPerSecond = 0): Promise<JobRow> =>
  startBackfill(store.sql, target.tenantId, actor, {
    pipeline: target.name,
    since: new Date(0),
    until: undefined,
    version: 0,
    eventsPerSecond,
    reason: "",
    verdict: undefined,
    dryRun: false,
  });

const replayLetters = (target: Pipe): Promise<JobRow> =>
  startReplay(store.sql, target.tenantId, actor, { ...replay, filter: { pipeline: target.name } });
const last = (target: Pipe): string | undefined => engine.last(target.pipelineId)?.payload;

/** A pipeline with one event that `from` says from when on it is delivered, and that was run. */
async function captured(from: number): Promise<{ target: Pipe; event: EventId }> {
  const target = await pipeline();
  const [event] = await capture(target, many(1, from));
  if (event === undefined) throw new Error("no event");
  await engine.drain();
  return { target, event };
}

const FIRST = '{"from":1,"edit":1}';
const SECOND = '{"from":1,"edit":2}';

describe("a backfill after an edit", () => {
  it("delivers what a dead event was edited to, and opens no new letter", async () => {
    const { target, event } = await captured(9);
    expect(await drive(target, await edit(target, event, FIRST))).toMatchObject({ delivered: 1, generation: 0 });
    expect(await drive(target, await backfill(target))).toMatchObject({ delivered: 1, dead: 0, generation: 1 });
    expect(engine.last(target.pipelineId)).toMatchObject({ payload: FIRST, source: event, generation: 1 });
    expect(await states(target)).toEqual({ replayed: 1 });
  });

  it("delivers the newest of several edits of an event that was delivered", async () => {
    const { target, event } = await captured(1);
    await drive(target, await edit(target, event, FIRST));
    await drive(target, await backfill(target));
    expect(last(target)).toBe(FIRST);
    await drive(target, await edit(target, event, SECOND));
    await drive(target, await backfill(target));
    expect(last(target)).toBe(SECOND);
  });

  it("takes edits that come while it hands out, and that are not handed out themselves", async () => {
    const { target, event } = await captured(1);
    const job = await backfill(target);
    await stepJobs(store.sql);
    await edit(target, event, FIRST);
    // The older job goes first.
    await stepJobs(store.sql);
    const [taken] = await store.sql<{ payload: string }[]>`
      select e.payload from onedata.batches b join onedata.events e on e.batch_id = b.id where b.job_id = ${job.id} and b.tenant_id = ${target.tenantId}`;
    expect(taken).toEqual({ payload: FIRST });
    expect(await drive(target, job)).toMatchObject({ delivered: 1 });
  });

  it("is waited for by an edit, once it has handed the event out", async () => {
    const { target, event } = await captured(1);
    const job = await backfill(target);
    while (await stepJobs(store.sql));
    await expect(edit(target, event, FIRST)).rejects.toMatchObject({ code: "event.conflict", message: expect.stringContaining("backfill") });
    await drive(target, job);
    expect(await drive(target, await edit(target, event, FIRST))).toMatchObject({ delivered: 1 });
  });

  it("knows no edit that was cancelled before it ran", async () => {
    const { target, event } = await captured(1);
    const job = await edit(target, event, FIRST);
    await stepJobs(store.sql);
    await cancelJob(store.sql, target.tenantId, actor, job.id);
    await drive(target, job);
    await drive(target, await backfill(target));
    expect(JSON.parse(last(target) ?? "")).toEqual({ from: 1, i: 0 });
  });
});

describe("a replay after an edit", () => {
  it("of an event that was delivered runs the newest edit", async () => {
    const { target, event } = await captured(9);
    await drive(target, await edit(target, event, FIRST));
    expect(await drive(target, await edit(target, event))).toMatchObject({ delivered: 1, generation: 1 });
    expect(last(target)).toBe(FIRST);
    await drive(target, await edit(target, event, SECOND));
    expect(await drive(target, await edit(target, event))).toMatchObject({ delivered: 1, generation: 3 });
    expect(last(target)).toBe(SECOND);
  });

  it("of letters that were there before it runs the edit, too", async () => {
    const { target, event } = await captured(2);
    // It dies again, as a delivery of its own: a letter that the edit does not settle.
    await drive(target, await backfill(target));
    await drive(target, await edit(target, event, FIRST));
    expect(await states(target)).toEqual({ replayed: 1, open: 1 });
    await activate(target, 2);
    expect(await drive(target, await replayLetters(target))).toMatchObject({ total: 1, delivered: 1, generation: 0 });
    expect(engine.last(target.pipelineId)).toMatchObject({ payload: FIRST, generation: 1 });
  });

  it("of letters of an edit that died runs the edit of that edit", async () => {
    const { target, event } = await captured(9);
    expect(await drive(target, await edit(target, event, '{"from":8}'))).toMatchObject({ dead: 1 });
    expect(await drive(target, await edit(target, event, '{"from":3,"edit":2}'))).toMatchObject({ dead: 1 });
    await activate(target, 3);
    expect(await drive(target, await replayLetters(target))).toMatchObject({ total: 1, delivered: 1 });
    expect(last(target)).toBe('{"from":3,"edit":2}');
  });
});

it("is tried as it would be run again: edited", async () => {
  const { target, event } = await captured(2);
  const { pipelineId, tenantId } = target;
  await drive(target, await backfill(target));
  await drive(target, await edit(target, event, FIRST));
  const { sources } = await readLetterSources(store.sql, tenantId, { pipelineId, filter: { pipeline: target.name }, limit: 10 });
  expect(sources).toMatchObject([{ event, payload: FIRST }]);
  expect(await readLastEvents(store.sql, tenantId, target.name, 10)).toEqual([{ id: event, payload: FIRST }]);
});
