import { untilServerIsOld } from "@onedata/store/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestService, type EngineWorld, LOAD_SINK, openEngineWorld, planOf, range, type TestPipeline, until } from "./engine-world.ts";

let world: EngineWorld;
beforeAll(async () => {
  world = await openEngineWorld();
  await untilServerIsOld(world.store);
});
afterAll(() => world[Symbol.asyncDispose]());

/** The first call with this value waits until it is let go; later ones go through. */
function hangOnce(value: number): { rule: (values: readonly number[]) => Promise<void>; hangs: () => boolean; letGo: () => void } {
  let letGo = (): void => undefined;
  let hangs = false;
  let isOver = false;
  return {
    rule: async (values) => {
      if (isOver || !values.includes(value)) return;
      isOver = true;
      hangs = true;
      await new Promise<void>((done) => (letGo = done));
      hangs = false;
    },
    hangs: () => hangs,
    letGo: () => letGo(),
  };
}

const attempts = async ({ pipelineId }: TestPipeline): Promise<number[]> =>
  (
    await world.store.sql<{ attempt: number }[]>`
      select r.attempt from onedata.runs r join onedata.batches b on b.id = r.batch_id where b.pipeline_id = ${pipelineId} order by r.attempt`
  ).map(({ attempt }) => attempt);

describe("leases", () => {
  it("a run that hangs in a living engine is taken over; when it moves again it does nothing", async () => {
    const pipeline = await world.pipeline();
    const service = createTestService({ record: () => undefined });
    const hang = hangOnce(1);
    service.rules.apply = hang.rule;
    await using running = await world.startEngine(service, { runDeadlineMs: 300 });
    await pipeline.capture([1, 2]);
    await until("hangs", hang.hangs);
    await until("delivered by another run", async () => (await pipeline.waiting()) === 0);
    expect(hang.hangs()).toBe(true);
    hang.letGo();
    await until("the hung one has ended", () => running.engine.openRuns === 0 && !hang.hangs());
    expect(await pipeline.outputs()).toEqual([1, 2]);
    expect(await attempts(pipeline)).toEqual([2]);
  });

  it("a run past its deadline is another engine's, though its own lives and has not given it up", async () => {
    const pipeline = await world.pipeline();
    const service = createTestService({ record: () => undefined });
    const hang = hangOnce(1);
    service.rules.apply = hang.rule;
    // Its only slot hangs, so that the other one has to take it.
    await using hung = await world.startEngine(service, { slots: 1 });
    await pipeline.capture([1, 2]);
    await until("hangs", hang.hangs);
    await using other = await world.startEngine(service);
    await world.store.sql`update onedata.queue set run_deadline = clock_timestamp() - interval '1 second' where run_id is not null`;
    await until("delivered by the other", async () => (await pipeline.waiting()) === 0);
    expect(hang.hangs()).toBe(true);
    expect(hung.engine.openRuns).toBe(1);
    hang.letGo();
    await until("the hung one has ended", () => hung.engine.openRuns === 0);
    expect(await pipeline.outputs()).toEqual([1, 2]);
    const runs = await world.store.sql`
      select r.engine, r.attempt from onedata.runs r join onedata.batches b on b.id = r.batch_id where b.pipeline_id = ${pipeline.pipelineId}`;
    expect(runs).toEqual([{ engine: other.engine.incarnation, attempt: 2 }]);
  });

  it("an engine that lost its lease drops its runs, blames nobody, and goes on as a new incarnation", async () => {
    const pipeline = await world.pipeline();
    const service = createTestService({ record: () => undefined });
    const hang = hangOnce(1);
    service.rules.apply = hang.rule;
    await using running = await world.startEngine(service, { leaseMs: 2_000 });
    await pipeline.capture([1]);
    await until("hangs", hang.hangs);
    const before = running.engine.incarnation;
    await world.store.sql`
      update onedata.engines set alive_until = now() - interval '1 hour', renewed_at = now() - interval '1 hour' - interval '2 seconds' where incarnation = ${before}`;
    await until("another incarnation", () => running.engine.incarnation !== before);
    await until("queue empty", async () => (await pipeline.waiting()) === 0);
    hang.letGo();
    expect(await pipeline.outputs()).toEqual([1]);
    const runs = await world.store.sql`
      select r.engine, r.attempt from onedata.runs r join onedata.batches b on b.id = r.batch_id where b.pipeline_id = ${pipeline.pipelineId}`;
    expect(runs).toEqual([{ engine: running.engine.incarnation, attempt: 2 }]);
  });

  it("no external write without a fresh lease", async () => {
    const pipeline = await world.pipeline({ plan: planOf({ sinks: [LOAD_SINK], route: "transform>load" }) });
    const service = createTestService({ record: () => undefined });
    const hang = hangOnce(1);
    service.rules.apply = hang.rule;
    // Renewals fail from here on, as they do when the database is away for this engine alone.
    await using _ = await world.startEngine(service, { leaseMs: 900 });
    await pipeline.capture([1]);
    await until("hangs", hang.hangs);
    await world.store.sql`alter table onedata.engines rename to engines_away`;
    await until("not fresh any more", async () => {
      const [row] = await world.store.sql`select clock_timestamp() > max(renewed_at) + interval '700 milliseconds' as late from onedata.engines_away`;
      return row?.["late"] === true;
    });
    hang.letGo();
    await until("the run has ended", () => !hang.hangs());
    expect(service.written).toEqual([]);
    await world.store.sql`alter table onedata.engines_away rename to engines`;
    await until("queue empty", async () => (await pipeline.waiting()) === 0);
    expect(service.written).toEqual([1]);
  });

  it("a slow service with a backlog leaves a slot for the others", async () => {
    const slow = await world.pipeline({ plan: planOf({ route: "slow" }) });
    const quick = await world.pipeline();
    const service = createTestService({ record: () => undefined });
    let letGo = (): void => undefined;
    const gate = new Promise<void>((done) => (letGo = done));
    service.rules.apply = (values) => (values.some((v) => v >= 1000) ? gate : undefined);
    for (let i = 0; i < 40; i++) await slow.capture(range(100, 1000 + i * 100));
    await using running = await world.startEngine(service, { slots: 4 });
    await until("three runs of the slow one", () => running.engine.openRuns === 3);
    await quick.capture([1]);
    await until("the quick one is delivered", async () => (await quick.waiting()) === 0);
    letGo();
    await until("queue empty", async () => (await slow.waiting()) === 0);
    expect(await slow.outputs()).toHaveLength(4000);
  });
});
