import { randomUUID } from "node:crypto";
import { type EventId, formatEventId } from "@onedata/core";
import { type ClaimedBatch, type CompletedBatch, captureGroup, claimRun, completeRun, registerEngine } from "@onedata/store";
import { getPipeline, listOpenJobs, listSome, workSome } from "@onedata/store/control";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ControlWorld, openControlWorld } from "../control-world.ts";

const SPEC = `name: orders
steps:
  - { id: total, use: record.map, with: { set: { total: "price * quantity" } } }
  - { id: big, use: record.filter, with: { where: "total > 100" } }
sinks:
  - { use: onedata.outputs, from: [total] }
  - { id: table, use: postgres.upsert, with: { connection: warehouse, table: orders, key: [id] }, from: [total] }
  - { id: large, use: postgres.upsert, with: { connection: warehouse, table: orders, key: [id] }, from: [big] }
`;

const HOOKS = `name: hooks
steps:
  - { id: total, use: record.map, with: { set: { total: "price * quantity" } } }
sinks:
  - { id: hook, use: http.post, with: { url: "https://hooks.example/in?token=s3cret" } }
`;

describe("where an event went", () => {
  let world: ControlWorld;
  const engine = randomUUID();
  beforeAll(async () => {
    world = await openControlWorld();
    await world.connections.putConnection(
      { connection: "warehouse", kind: "postgres", config: { host: "db", database: "d", user: "u" }, secrets: { password: "s3cret" } },
      world.ana,
    );
    await world.pipelines.applyPipeline({ pipeline: "orders", document: SPEC, mediaType: "application/yaml" }, world.ana);
    await world.pipelines.applyPipeline({ pipeline: "hooks", document: HOOKS, mediaType: "application/yaml" }, world.ana);
    await registerEngine(world.store, { incarnation: engine, slots: 1, leaseMs: 600_000 });
  });
  afterAll(() => world[Symbol.asyncDispose]());

  async function capture(payload: string, pipeline = "orders"): Promise<EventId> {
    const { tenantId } = world.ana.identity;
    const { id } = await getPipeline(world.store.sql, tenantId, pipeline);
    const target = { tenantId, pipelineId: id, version: 1, laneClass: "live" as const, ordered: false };
    const [[captured] = []] = await captureGroup(world.store, [{ target, events: [{ payload }] }]);
    if (captured?.kind !== "captured") throw new Error("not captured");
    return captured;
  }
  async function complete(change: (batch: ClaimedBatch) => Partial<CompletedBatch>): Promise<void> {
    const { run } = await claimRun(world.store, { runId: randomUUID(), owner: engine, deadlineMs: 60_000 });
    const batches = (run?.batches ?? []).map((batch) => ({
      ...batch,
      verdicts: Uint8Array.of(1),
      counts: { delivered: 1, filtered: 0, dead: 0 },
      ...change(batch),
    }));
    await completeRun(world.store, { runId: run?.runId ?? "", engine, wokenBy: "test", durationMs: 1, batches });
  }
  const die = (step: string, sink: string) => (): Partial<CompletedBatch> => ({
    verdicts: Uint8Array.of(2),
    counts: { delivered: 0, filtered: 0, dead: 1 },
    deadLetters: [{ n: 0, step, sink, code: "sink.rejected", fingerprint: "f", message: "no", payload: "{}" }],
  });
  /** Until every job has given its events to the queue. */
  async function handOut(): Promise<void> {
    const { sql } = world.store;
    for (let moved = true; moved; ) {
      moved = false;
      for (const { id, tenantId, state } of await listOpenJobs(sql))
        if (await (state === "preparing" ? listSome : workSome)(sql, tenantId, id)) moved = true;
    }
  }
  async function replay(id: EventId, payload: string): Promise<void> {
    await world.events.replayEvent({ event: formatEventId(id), payload }, world.ana);
    await handOut();
  }
  const written = async (id: EventId) => (await world.events.getEvent({ event: formatEventId(id) }, world.ana)).written;

  it("shows what was stored, computes the rest again, and names targets without secrets", async () => {
    const id = await capture('{"id":1,"price":2,"quantity":3}');
    expect(await written(id)).toEqual([]);
    // As if the version had made something else then: what is stored counts.
    await complete(() => ({ outputs: [{ sink: 0, ordinals: [0], payloads: ['{"id":1,"total":"as stored"}'] }] }));
    expect(await written(id)).toEqual([
      {
        sink: "onedata-outputs",
        kind: "onedata.outputs",
        target: "onedata.outputs",
        state: "written",
        count: 1,
        sample: ['{"id":1,"total":"as stored"}'],
        stored: true,
      },
      {
        sink: "table",
        kind: "postgres.upsert",
        target: "warehouse: orders",
        state: "written",
        count: 1,
        sample: ['{"id":1,"price":2,"quantity":3,"total":6}'],
        stored: false,
      },
      // Computing it again yields nothing, which proves nothing.
      { sink: "large", kind: "postgres.upsert", target: "warehouse: orders", state: "unknown", count: 0, sample: [], stored: false },
    ]);
  });

  it("tells the sink that refused it from those that took it", async () => {
    const id = await capture('{"id":2,"price":20,"quantity":30}');
    await complete(die("", "table"));
    expect((await written(id)).map(({ sink, state, count }) => [sink, state, count])).toEqual([
      ["onedata-outputs", "written", 1],
      ["table", "dead", 0],
      ["large", "written", 1],
    ]);
  });

  it("answers without a sample when it cannot be computed, and shortens long records", async () => {
    const id = await capture(`{"id":3,"price":20,"quantity":30,"text":"${"é".repeat(5_000)}"}`);
    await complete(() => ({}));
    const [, table] = await written(id);
    expect(Buffer.byteLength(table?.sample[0] ?? "")).toBeLessThanOrEqual(4096);
    expect(JSON.parse(table?.sample[0] ?? "")).toMatch(/^\{"id":3.*bytes\)$/);
    world.transform.up = false;
    const unknown = { state: "unknown", count: 0, sample: [] };
    expect(await written(id)).toMatchObject([unknown, unknown, unknown]);
    world.transform.up = true;
  });

  it("tells of what an edited replay wrote, from its payload and with its version, and of no backfill after it", async () => {
    const id = await capture('{"id":4,"price":1,"quantity":1}', "hooks");
    await complete(die("total", ""));
    expect((await written(id)).map(({ state, count }) => [state, count])).toEqual([["dead", 0]]);
    await replay(id, '{"id":4,"price":50,"quantity":4}');
    await complete(() => ({}));
    const hook = {
      sink: "hook",
      kind: "http.post",
      target: "https://hooks.example/in",
      state: "written",
      count: 1,
      sample: ['{"id":4,"price":50,"quantity":4,"total":200}'],
      stored: false,
    };
    expect(await written(id)).toEqual([hook]);
    // Another version is active then, and the backfill runs with it.
    await world.pipelines.applyPipeline(
      { pipeline: "hooks", document: HOOKS.replace("price * quantity", "0"), mediaType: "application/yaml" },
      world.ana,
    );
    await world.jobs.startBackfill({ pipeline: "hooks", since: new Date(0) }, world.ana);
    await handOut();
    await complete(() => ({ verdicts: Uint8Array.of(16), counts: { delivered: 0, filtered: 1, dead: 0 } }));
    expect(await written(id)).toEqual([hook]);
    world.transform.up = false;
    // It has one sink, and was delivered.
    expect(await written(id)).toEqual([{ ...hook, count: 0, sample: [] }]);
    world.transform.up = true;
  });

  it("answers for each sink with the delivery that wrote to it", async () => {
    const id = await capture('{"id":5,"price":20,"quantity":30}');
    await complete(die("", "table"));
    await replay(id, '{"id":5,"price":20,"quantity":40}');
    await complete(() => ({}));
    expect((await written(id)).map(({ sink, state, sample }) => [sink, state, sample])).toEqual([
      ["onedata-outputs", "written", ['{"id":5,"price":20,"quantity":30,"total":600}']],
      ["table", "written", ['{"id":5,"price":20,"quantity":40,"total":800}']],
      ["large", "written", ['{"id":5,"price":20,"quantity":30,"total":600}']],
    ]);
  });
});
