/** The rows of the fault table about deaths (docs/faults.md): services and engines that die with records in flight, guilty or not. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestService, type EngineWorld, fail, isEmpty, LOAD_SINK, openEngineWorld, planOf, range, until } from "./engine-world.ts";

let world: EngineWorld;
beforeAll(async () => {
  world = await openEngineWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

describe("crashes", () => {
  it("a service that dies on one record: that record dead, others delivered, of other pipelines too", async () => {
    const [pipeline, neighbour] = [await world.pipeline(), await world.pipeline()];
    const service = createTestService({ hasExample: true, record: () => undefined });
    let downUntilMs = 0;
    let deaths = 0;
    service.rules.apply = (values) => {
      if (performance.now() < downUntilMs) fail("service.unavailable", "connection refused");
      if (!values.includes(666)) return;
      deaths += 1;
      downUntilMs = performance.now() + 30;
      fail("service.lost", "socket hang up");
    };
    for (let i = 0; i < 4; i++) await pipeline.capture(range(100, i * 100));
    await pipeline.capture([...range(60, 600), 666, ...range(30, 700)]);
    await neighbour.capture(range(50));
    await using _ = await world.startEngine(service);
    await until("queues empty", async () => {
      await pipeline.skipWaits();
      await neighbour.skipWaits();
      return (await pipeline.waiting()) + (await neighbour.waiting()) === 0;
    });
    const letters = await pipeline.letters();
    expect(letters).toMatchObject([{ step: "a", code: "record.crashes", payload: '{"v":666}' }]);
    expect(letters[0]?.message).toMatch(/service transform: socket hang up \(died 7 times with this record in flight/);
    expect(await pipeline.outputs()).toEqual([...range(400, 0), ...range(60, 600), ...range(30, 700)]);
    expect(await neighbour.outputs()).toEqual(range(50));
    expect(await neighbour.letters()).toEqual([]);
    expect(deaths).toBe(7);
  });

  it("a load service that dies between two writes: what is done stays done, the rest is retried under the same version", async () => {
    const sinks = [LOAD_SINK, { ...LOAD_SINK, id: "other" }];
    const pipeline = await world.pipeline({ plan: planOf({ sinks, route: "transform>load" }) });
    const service = createTestService({ record: () => undefined });
    // 300 events make 600 records: the second call carries the last hundred of the second sink.
    service.rules.write = () => void (service.calls.write === 2 && fail("service.lost", "socket hang up"));
    for (let i = 0; i < 3; i++) await pipeline.capture(range(100, i * 100));
    await using _ = await world.startEngine(service);
    await until("first two batches final", async () => (await pipeline.waiting()) === 1);
    const [row] = await world.store.sql`
      select q.failures, q.version, q.n, q.suspect from onedata.queue q join onedata.lanes l on l.id = q.lane_id where l.pipeline_id = ${pipeline.pipelineId}`;
    if (row !== undefined) expect(row).toMatchObject({ failures: 1, version: 1, n: 100, suspect: false });
    await until("queue empty", isEmpty(pipeline));
    const counts = new Map<number, number>();
    for (const value of service.written) counts.set(value, (counts.get(value) ?? 0) + 1);
    expect([...counts.values()].filter((times) => times !== 2)).toEqual([]);
    expect(counts.size).toBe(300);
    expect(await pipeline.letters()).toEqual([]);
  });

  it("a service that dies with everything kills nothing", async () => {
    const pipeline = await world.pipeline();
    const service = createTestService({ hasExample: true });
    service.rules.apply = () => fail("service.lost", "socket hang up");
    await pipeline.capture([1]);
    await using _ = await world.startEngine(service);
    await until("suspected to the last and blocked", async () => {
      await pipeline.skipWaits();
      return ((await pipeline.lane())?.block_failures ?? 0) >= 3;
    });
    expect(await pipeline.letters()).toEqual([]);
    expect(await pipeline.lane()).toMatchObject({ block_reason: expect.stringContaining("does not do an example of its own catalogue") });
    service.rules.apply = undefined;
    await until("queue empty", async () => {
      await pipeline.skipWaits();
      return (await pipeline.waiting()) === 0;
    });
    expect(await pipeline.outputs()).toEqual([1]);
  });

  it("a rolling restart costs the innocent nothing", async () => {
    const pipeline = await world.pipeline();
    const service = createTestService({ record: () => undefined });
    let losses = 0;
    service.rules.apply = () => {
      losses += 1;
      if (losses % 4 === 0 && losses < 40) fail("service.lost", "socket hang up");
    };
    await using _ = await world.startEngine(service);
    for (let i = 0; i < 40; i++) await pipeline.capture(range(20, i * 20));
    await until("queue empty", isEmpty(pipeline));
    expect(await pipeline.letters()).toEqual([]);
    expect(await pipeline.outputs()).toEqual(range(800, 0));
    expect(await pipeline.lane()).toMatchObject({ block_failures: 0 });
  });

  it("an engine that dies with one record: found by pieces, alone at last", async () => {
    const pipeline = await world.pipeline();
    await pipeline.capture(range(10));
    // What six dead engines leave; the seventh dies with the first piece of one.
    await world.store
      .sql`update onedata.queue q set suspect = true, failures = 7, attempt = 7 from onedata.lanes l where l.id = q.lane_id and l.pipeline_id = ${pipeline.pipelineId}`;
    await using _ = await world.startEngine(createTestService());
    await until("queue empty", isEmpty(pipeline));
    expect(await pipeline.letters()).toMatchObject([
      { code: "record.crashes", payload: '{"v":100}', message: expect.stringContaining("engines died 7 times") },
    ]);
    expect(await pipeline.outputs()).toEqual(range(9, 101));
  });
});
