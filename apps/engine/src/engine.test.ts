import { OneDataError, type Plan } from "@onedata/core";
import { type CaptureTarget, captureGroup, openStore, type Store } from "@onedata/store";
import { createTestPipeline, openTestDatabase, type TestDatabase } from "@onedata/store/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createEngine, type EngineOptions } from "./engine.ts";
import type { ServiceClients, TransformClient } from "./service-calls.ts";

let database: TestDatabase;
let store: Store;

beforeAll(async () => {
  database = await openTestDatabase();
  store = openStore(database.url);
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const plan: Plan = {
  route: "transform>engine",
  stages: [{ service: "transform", steps: [{ id: "a", index: 0, operation: "record.map", config: {}, configHash: "h" }], inputs: ["input"] }],
  sinks: [{ id: "out", kind: "onedata.outputs", service: "engine", config: {}, configHash: "h", inputs: [0] }],
};
const log = {
  info: () => undefined,
  warn: (message: string, fields?: object) => console.error(message, fields),
  error: (message: string, fields?: object) => console.error(message, fields),
};

/** A service that behaves: filters {"v":13}, fails {"v":17}, and can be taken down. */
function createService(): { clients: ServiceClients; state: { down: boolean } } {
  const state = { down: false };
  const decode = (bytes: Uint8Array): { v: number } => JSON.parse(new TextDecoder().decode(bytes));
  const client: TransformClient = {
    describe: () => Promise.reject(new Error("not asked")),
    checkStep: () => Promise.reject(new Error("not asked")),
    async apply(request) {
      if (state.down) throw new OneDataError("service.unavailable", "connection refused");
      return {
        results: (request.groups ?? []).flatMap((group) =>
          (group.records ?? []).map(({ n = 0, json = new Uint8Array() }) => {
            const { v } = decode(json);
            if (v === 13) return { n, outcome: { $case: "filtered" as const, value: { step: 0 } } };
            if (v === 17)
              return {
                n,
                outcome: {
                  $case: "failed" as const,
                  value: { step: 0, code: "record.invalid", message: `v is ${v}`, retryable: false, retryAfter: undefined, json: new Uint8Array() },
                },
              };
            return { n, outcome: { $case: "outputs" as const, value: { json: [json] } } };
          }),
        ),
      };
    },
  };
  return { clients: { transform: () => client, load: () => undefined }, state };
}

async function startEngine(clients: ServiceClients, options: EngineOptions = {}): Promise<AsyncDisposable> {
  const stop = new AbortController();
  const engine = createEngine(
    { store, clients, installation: "test", log, connection: () => Promise.reject(new Error("no connections here")) },
    { pollMs: 20, ...options },
  );
  const running = engine.run(stop.signal);
  return {
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

async function pipeline(): Promise<CaptureTarget> {
  const made = await createTestPipeline(store.sql, { plan, route: plan.route });
  return { tenantId: made.tenantId, pipelineId: made.pipelineId, version: 1, laneClass: "live", ordered: false };
}
const capture = (target: CaptureTarget, values: readonly number[]) =>
  captureGroup(store, [{ target, events: values.map((v) => ({ payload: `{"v":${v}}` })) }]);
const waiting = async (target: CaptureTarget): Promise<number> =>
  (
    await store.sql<
      { n: number }[]
    >`select count(*)::int n from onedata.queue q join onedata.lanes l on l.id = q.lane_id where l.pipeline_id = ${target.pipelineId}`
  )[0]?.n ?? 0;

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`still not: ${what}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

describe("engine", () => {
  it("delivers, filters and buries, each event on its own", async () => {
    const target = await pipeline();
    const { clients } = createService();
    await using _ = await startEngine(clients);
    await capture(target, [1, 13, 17, 2]);
    await until("queue empty", async () => (await waiting(target)) === 0);
    const [run] = await store.sql<
      { verdicts: Buffer; outcome: string }[]
    >`select r.verdicts, r.outcome from onedata.runs r join onedata.batches b on b.id = r.batch_id where b.pipeline_id = ${target.pipelineId}`;
    expect([...(run?.verdicts ?? [])]).toEqual([1, 16, 2, 1]);
    const [output] = await store.sql`select ordinals, payloads from onedata.outputs where pipeline_id = ${target.pipelineId}`;
    expect(output).toMatchObject({ ordinals: [0, 3], payloads: '{"v":1}\u001e{"v":2}' });
    const letters = await store.sql`select step, code, message, payload, state from onedata.dead_letters where pipeline_id = ${target.pipelineId}`;
    expect(letters).toMatchObject([{ step: "a", code: "record.invalid", message: "v is 17", payload: '{"v":17}', state: "open" }]);
  });

  it("holds what SQL captured against the input schema, and lets pass what the gateway checked", async () => {
    const inputSchema = { type: "object", properties: { v: { type: "integer", maximum: 10 } } };
    const { tenantId, pipelineId, name } = await createTestPipeline(store.sql, { plan: { ...plan, inputSchema }, route: plan.route });
    await store.sql`insert into onedata.principals (tenant_id, kind, subject) select ${tenantId}, 'database', session_user`;
    const { clients } = createService();
    await using _ = await startEngine(clients);
    const target: CaptureTarget = { tenantId, pipelineId, version: 1, laneClass: "live", ordered: false };
    await store.sql`select onedata.capture_many(${name}, array['{"v":1}', '{"v":11}', '{"v":"x"}', '{"v":2}'])`;
    await capture(target, [12]);
    await until("queue empty", async () => (await waiting(target)) === 0);
    const outputs = await store.sql`select payloads from onedata.outputs where pipeline_id = ${pipelineId} order by batch_id`;
    expect(outputs.map(({ payloads }) => payloads)).toEqual(['{"v":1}\u001e{"v":2}', '{"v":12}']);
    const letters = await store.sql`select n, step, code, message, payload from onedata.dead_letters where pipeline_id = ${pipelineId} order by n`;
    expect(letters).toMatchObject([
      { n: 1, step: "input", code: "input.invalid", message: expect.stringMatching(/schema: \/v: .*10/), payload: '{"v":11}' },
      { n: 2, step: "input", code: "input.invalid", message: expect.stringMatching(/\/v: .*integer/), payload: '{"v":"x"}' },
    ]);
  });

  it("waits while a service is down, says so on the lane, and loses nobody", async () => {
    const target = await pipeline();
    const { clients, state } = createService();
    state.down = true;
    await using _ = await startEngine(clients);
    await capture(target, [1, 2, 3]);
    const lane = async () =>
      (
        await store.sql<
          { block_reason: string | null; block_failures: number }[]
        >`select block_reason, block_failures from onedata.lanes where pipeline_id = ${target.pipelineId} and class = 'live'`
      )[0];
    await until("blocked twice", async () => ((await lane())?.block_failures ?? 0) >= 2);
    expect((await lane())?.block_reason).toContain("service transform: connection refused");
    expect(await store.sql`select from onedata.dead_letters where pipeline_id = ${target.pipelineId}`).toHaveLength(0);
    state.down = false;
    await until("queue empty", async () => (await waiting(target)) === 0);
    await until("unblocked", async () => (await lane())?.block_reason === null);
  });

  it("delivers batches that two engines died with, each in a run of its own", async () => {
    const target = await pipeline();
    const { clients } = createService();
    await capture(target, [1, 2]);
    await capture(target, [3]);
    await store.sql`update onedata.queue q set suspect = true, failures = 2, attempt = 2 from onedata.lanes l where l.id = q.lane_id and l.pipeline_id = ${target.pipelineId}`;
    await using _ = await startEngine(clients);
    await until("queue empty", async () => (await waiting(target)) === 0);
    const runs = await store.sql`
      select distinct r.run_id from onedata.runs r join onedata.batches b on b.id = r.batch_id where b.pipeline_id = ${target.pipelineId}`;
    expect(runs).toHaveLength(2);
  });

  it("shares work between two engines and drains on stop", async () => {
    const target = await pipeline();
    const { clients } = createService();
    const one = await startEngine(clients);
    const two = await startEngine(clients);
    await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        capture(
          target,
          Array.from({ length: 25 }, (_, k) => 100 + i * 25 + k),
        ),
      ),
    );
    await until("queue empty", async () => (await waiting(target)) === 0);
    await Promise.all([one[Symbol.asyncDispose](), two[Symbol.asyncDispose]()]);
    const [row] = await store.sql<{ n: number; d: number }[]>`
      select count(*)::int n, count(distinct (batch_id, ordinal))::int d from (select batch_id, unnest(ordinals) ordinal from onedata.outputs where pipeline_id = ${target.pipelineId}) o`;
    expect(row).toEqual({ n: 1000, d: 1000 });
    expect(await store.sql`select from onedata.engines`).toHaveLength(0);
  });
});
