/** The rows of the fault table about data, records and services (docs/faults.md), each as the engine meets it; `crashes.scenario.test.ts` has those about deaths. */
import type { ErrorCode } from "@onedata/core";
import { shardOf } from "@onedata/store";
import { activateVersion } from "@onedata/store/control";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestService, type EngineWorld, fail, isEmpty, LOAD_SINK, openEngineWorld, planOf, range, step, until } from "./engine-world.ts";

let world: EngineWorld;
beforeAll(async () => {
  world = await openEngineWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

/** Waiting and claimed under a bad version; the size that is promised: ONEDATA_BAD_VERSION_EVENTS=50000 (docs/faults.md). A multiple of 200. */
const BAD_VERSION_EVENTS = Number(process.env["ONEDATA_BAD_VERSION_EVENTS"] ?? "2000");

describe("data faults", () => {
  it("one poison in 500: 499 delivered, one dead letter, at most 20 calls", async () => {
    const pipeline = await world.pipeline();
    const service = createTestService({ record: () => undefined });
    service.rules.apply = (values) => void (values.includes(333) && fail("request.invalid", "cannot read a record"));
    await pipeline.capture(range(500, 0));
    await using _ = await world.startEngine(service);
    await until("queue empty", isEmpty(pipeline));
    expect(await pipeline.outputs()).toEqual(range(500, 0).filter((v) => v !== 333));
    expect(await pipeline.letters()).toMatchObject([{ step: "a", code: "request.invalid", payload: '{"v":333}' }]);
    expect(service.calls.apply).toBeLessThanOrEqual(20);
  });

  it("takes a hang on one record for that record's fault when the service does its example", async () => {
    const pipeline = await world.pipeline();
    const service = createTestService({ hasExample: true });
    service.rules.apply = (values) => void (values.includes(105) && fail("request.timeout"));
    await pipeline.capture(range(50));
    await using _ = await world.startEngine(service);
    await until("queue empty", isEmpty(pipeline));
    expect(await pipeline.letters()).toMatchObject([{ code: "request.timeout", payload: '{"v":105}' }]);
    expect(await pipeline.outputs()).toHaveLength(49);
  });

  it("takes a hang of everything for the service's fault, though it worked a moment ago, and kills nothing", async () => {
    const pipeline = await world.pipeline();
    const service = createTestService({ hasExample: true });
    await using _ = await world.startEngine(service);
    await pipeline.capture([1]);
    await until("first delivered", isEmpty(pipeline));
    service.rules.apply = () => fail("request.timeout");
    await pipeline.capture([2]);
    await until("blocked", async () => ((await pipeline.lane())?.block_failures ?? 0) > 0);
    expect(await pipeline.letters()).toEqual([]);
    service.rules.apply = undefined;
    await until("delivered", isEmpty(pipeline));
  });
});

describe("records that ask for a retry", () => {
  it("are tried five times, then die; their neighbours are delivered at once", async () => {
    const pipeline = await world.pipeline();
    await using _ = await world.startEngine(createTestService());
    await pipeline.capture([1, 19, 2]);
    await until("neighbours delivered", async () => (await pipeline.outputs()).length === 2);
    expect(await pipeline.letters()).toEqual([]);
    let waitedS = 0;
    await until("queue empty", async () => {
      waitedS += await pipeline.skipWaits();
      return (await pipeline.waiting()) === 0;
    });
    expect(waitedS).toBeGreaterThan(1 + 2 + 4 + 8 - 1);
    expect(await pipeline.letters()).toMatchObject([{ n: 1, code: "busy", message: "v is 19 (tried 5 times)" }]);
    const attempts = await world.store.sql`
      select r.verdicts from onedata.runs r join onedata.batches b on b.id = r.batch_id where b.pipeline_id = ${pipeline.pipelineId} order by r.attempt`;
    expect(attempts.map((row) => [...(row["verdicts"] as Buffer)])).toEqual([
      [1, 0, 1],
      [0, 0],
      [0, 0],
      [0, 0],
      [0, 2],
    ]);
  });

  it("hold later events of their key, in their batch and in later ones, and no other key's", async () => {
    const pipeline = await world.pipeline({ ordering: "k", plan: planOf({ sinks: [LOAD_SINK], route: "transform>load" }) });
    const service = createTestService();
    let isBusy = true;
    service.rules.record = (value) => (value === 19 && isBusy ? "later" : undefined);
    await using _ = await world.startEngine(service);
    await pipeline.capture([1, 19, 2], { key: "a" });
    await until("tried", () => service.calls.apply > 0);
    await pipeline.capture([3], { key: "a" });
    await pipeline.capture([4], { key: "customer-42" });
    await until("the other key delivered", () => service.written.includes(4));
    isBusy = false;
    await until("queue empty", async () => {
      await pipeline.skipWaits();
      return (await pipeline.waiting()) === 0;
    });
    expect(service.written.filter((v) => v !== 4)).toEqual([1, 19, 2, 3]);
  });
});

describe("failures of a load service that may be its own or a record's", () => {
  const loading = () => world.pipeline({ plan: planOf({ sinks: [LOAD_SINK], route: "transform>load" }) });

  it.each<ErrorCode>(["internal", "request.timeout"])("%s of everything buries nobody, though it worked a moment ago", async (code) => {
    const pipeline = await loading();
    const service = createTestService({ record: () => undefined });
    await using _ = await world.startEngine(service);
    await pipeline.capture([1]);
    await until("first delivered", isEmpty(pipeline));
    service.rules.write = () => fail(code);
    await pipeline.capture(range(40));
    await until("blocked", async () => ((await pipeline.lane())?.block_failures ?? 0) > 0);
    const asked = service.calls.write;
    let passedS = 0;
    await until("ten minutes", async () => {
      passedS += await pipeline.skipWaits();
      return passedS > 600;
    });
    expect(await pipeline.letters()).toEqual([]);
    // Pauses grow to a minute, and a service that looks down is asked for one record.
    expect(service.calls.write - asked).toBeLessThan(80);
    service.rules.write = undefined;
    await until("queue empty", async () => {
      await pipeline.skipWaits();
      return (await pipeline.waiting()) === 0;
    });
    expect(new Set(service.written)).toEqual(new Set([1, ...range(40)]));
    expect(await pipeline.letters()).toEqual([]);
  });

  it("one record that it fails on: the others are written at once and the lane is free; that one dies after its tries, an example needs nobody", async () => {
    const pipeline = await loading();
    const service = createTestService({ record: () => undefined });
    service.rules.write = (values) => void (values.includes(117) && fail("internal"));
    await using _ = await world.startEngine(service);
    await pipeline.capture(range(40));
    await until("others written", () => new Set(service.written).size === 39);
    await until("its batch waits", async () => (await pipeline.waiting()) === 1);
    expect(await pipeline.lane()).toMatchObject({ block_failures: 0 });
    await pipeline.capture([7]);
    await until("a later one written", () => service.written.includes(7));
    let waitedS = 0;
    await until("queue empty", async () => {
      waitedS += await pipeline.skipWaits();
      return (await pipeline.waiting()) === 0;
    });
    expect(waitedS).toBeGreaterThan(4 + 8 + 16 + 32 - 1);
    expect(await pipeline.letters()).toMatchObject([
      {
        sink: "table",
        code: "sink.failed",
        payload: '{"v":117}',
        message: expect.stringMatching(/^service load: .*\(this record failed alone 5 times, and meanwhile/),
      },
    ]);
  });
});

describe("a record that a sink fails with, where order counts", () => {
  it("lets other keys of its shard pass at its next try, which proves it guilty, and its own key when it is dead", async () => {
    const pipeline = await world.pipeline({ ordering: "k", plan: planOf({ sinks: [{ ...LOAD_SINK, retries: 2 }], route: "transform>load" }) });
    const service = createTestService({ record: () => undefined });
    service.rules.write = (values) => void (values.includes(117) && fail("internal"));
    await using _ = await world.startEngine(service);
    await pipeline.capture([117], { key: "a" });
    await until("tried", () => service.calls.write > 0);
    await pipeline.capture([1], { key: "a" });
    const [other] = Array.from({ length: 1_000 }, (_unused, i) => `key-${i}`).filter((key) => shardOf(key) === shardOf("a"));
    await pipeline.capture([2], { key: other ?? "" });
    await until("the other key written", async () => {
      await pipeline.skipWaits();
      return service.written.includes(2);
    });
    await until("queue empty", async () => {
      await pipeline.skipWaits();
      return (await pipeline.waiting()) === 0;
    });
    expect(await pipeline.letters()).toMatchObject([{ code: "sink.failed", payload: '{"v":117}' }]);
    expect(new Set(service.written)).toEqual(new Set([1, 2]));
    expect(service.written).toHaveLength(2);
  });
});

describe("service faults", () => {
  it.each<ErrorCode>([
    "service.unavailable",
    "auth.caller_denied",
    "auth.unauthenticated",
    "route.not_found",
    "service.failed",
    "contract.breach",
  ])("ten minutes of %s: no dead letters, no crash counted, then all delivered", async (code) => {
    const pipeline = await world.pipeline();
    const service = createTestService();
    service.rules.apply = () => fail(code);
    await pipeline.capture(range(40));
    await using _ = await world.startEngine(service);
    let passedS = 0;
    await until("ten minutes", async () => {
      passedS += await pipeline.skipWaits();
      return passedS > 600;
    });
    expect(await pipeline.letters()).toEqual([]);
    const [row] = await world.store.sql`
        select max(q.failures) failures, bool_or(q.suspect) suspect from onedata.queue q join onedata.lanes l on l.id = q.lane_id where l.pipeline_id = ${pipeline.pipelineId}`;
    expect(row).toEqual({ failures: 0, suspect: false });
    // Pauses grow to a minute, so ten minutes cost a few dozen calls at most.
    expect(service.calls.apply).toBeLessThan(40);
    service.rules.apply = undefined;
    await until("queue empty", async () => {
      await pipeline.skipWaits();
      return (await pipeline.waiting()) === 0;
    });
    expect(await pipeline.outputs()).toEqual(range(40));
    await until("unblocked", async () => (await pipeline.lane())?.block_failures === 0);
  });

  it("clears a lane's failures by a good run, also of an engine that did not see them", async () => {
    const pipeline = await world.pipeline();
    const service = createTestService();
    service.rules.apply = () => fail("service.unavailable");
    await pipeline.capture([1]);
    {
      await using _ = await world.startEngine(service);
      await until("blocked twice", async () => ((await pipeline.lane())?.block_failures ?? 0) >= 2);
    }
    service.rules.apply = undefined;
    await using _ = await world.startEngine(service);
    await until("queue empty", isEmpty(pipeline));
    await until("cleared", async () => (await pipeline.lane())?.block_failures === 0);
    expect(await pipeline.lane()).toMatchObject({ block_reason: null });
  });

  it("frees what a version on a dead service holds, waiting and claimed, when the old one is activated: all delivered by the old one", async () => {
    const pipeline = await world.pipeline({ ordering: "k" });
    const dead = planOf({ route: "dead>engine", stages: [step("d", "dead")] });
    await world.store.sql`
      insert into onedata.pipeline_versions (pipeline_id, version, hash, spec, plan, route)
      values (${pipeline.pipelineId}, 2, 'dead', '{}', ${JSON.stringify(dead)}::text::json, ${dead.route})`;
    const actor = { name: "ana" };
    // The first half was let in under the old version; all of it is claimed, or waits, under the bad one.
    const batches = BAD_VERSION_EVENTS / 100;
    for (let i = 0; i < batches; i++) {
      if (i === batches / 2) await activateVersion(world.store.sql, pipeline.tenantId, actor, { name: pipeline.name, version: 2 });
      await pipeline.capture(range(100, i * 100), { version: i < batches / 2 ? 1 : 2, key: `key-${i % 64}` });
    }
    const { clients, ...service } = createTestService({ record: () => undefined });
    const stuck = createTestService();
    let letGo = (): void => undefined;
    const gate = new Promise<void>((done) => (letGo = done));
    stuck.rules.apply = () => gate.then(() => fail("service.unavailable", "connection refused"));
    const withDead = { ...clients, transform: (name: string) => (name === "dead" ? stuck.clients : clients).transform(name) };
    await using _ = await world.startEngine({ ...service, clients: withDead });
    await until("a run hangs", () => stuck.calls.apply > 0);
    const [held] = await world.store.sql`
      select count(*)::int as batches, count(*) filter (where q.run_id is not null and q.version = 2)::int > 0 as claimed
        from onedata.queue q join onedata.lanes l on l.id = q.lane_id where l.pipeline_id = ${pipeline.pipelineId}`;
    expect(held).toEqual({ batches, claimed: true });
    await activateVersion(world.store.sql, pipeline.tenantId, actor, { name: pipeline.name, version: 1 });
    letGo();
    await until(
      "queue empty",
      async () => {
        await pipeline.skipWaits();
        return (await pipeline.waiting()) === 0;
      },
      600_000,
    );
    expect(await pipeline.outputs()).toEqual(range(BAD_VERSION_EVENTS, 0));
    expect(await pipeline.letters()).toEqual([]);
    const versions = await world.store
      .sql`select distinct r.version from onedata.runs r join onedata.batches b on b.id = r.batch_id where b.pipeline_id = ${pipeline.pipelineId}`;
    expect(versions).toEqual([{ version: 1 }]);
  }, 900_000);
});

describe("a flood of deaths", () => {
  it("pauses the pipeline by itself, with a sentence, long before the backlog is dead", async () => {
    const pipeline = await world.pipeline();
    for (let i = 0; i < 40; i++) await pipeline.capture(range(100, i * 100));
    const service = createTestService({ record: () => "failed" });
    await using _ = await world.startEngine(service);
    const state = async () =>
      (await world.store.sql`select state, reason, state_changed_by as by from onedata.pipelines where id = ${pipeline.pipelineId}`)[0];
    await until("paused", async () => (await state())?.["state"] === "paused");
    expect(await state()).toMatchObject({
      by: "onedata",
      reason: expect.stringMatching(/^paused itself: \d+ of the last [\d,]+ live events of version 1 died; most: record.invalid at step a$/),
    });
    expect((await pipeline.letters()).length).toBeLessThan(2_500);
    expect(await pipeline.waiting()).toBeGreaterThan(10);
  });

  it("lets a pipeline be that does not want it", async () => {
    const pipeline = await world.pipeline({ plan: planOf({ selfPause: { off: true, deadShare: 0.2, minimum: 200 } }) });
    for (let i = 0; i < 5; i++) await pipeline.capture(range(100, i * 100));
    await using _ = await world.startEngine(createTestService({ record: () => "failed" }));
    await until("queue empty", isEmpty(pipeline));
    expect(await pipeline.letters()).toHaveLength(500);
  });
});
