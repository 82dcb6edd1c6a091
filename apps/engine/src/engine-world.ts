/**
 * Engines on a real database, and a service in memory that computes over what it is sent and fails as a test tells it to. For tests.
 * Time that lanes and batches wait is skipped in the database, whose clock decides.
 */
import { type ErrorCode, OneDataError, type PipelineId, type Plan, raceSignal, type TenantId } from "@onedata/core";
import { type CaptureTarget, captureGroup, openStore, type Store } from "@onedata/store";
import { createTestPipeline, openTestDatabase, type TestPipelineOptions } from "@onedata/store/testing";
import { createEngine, type Engine, type EngineOptions } from "./engine.ts";
import type { LoadClient, ServiceClients, TransformClient } from "./service-calls.ts";

type ApplyRequest = Parameters<TransformClient["apply"]>[0];
type ApplyResponse = Awaited<ReturnType<TransformClient["apply"]>>;

export const step = (id: string, service = "transform"): Plan["stages"][number] => ({
  service,
  steps: [{ id, index: 0, operation: "record.map", config: {}, configHash: "h" }],
  inputs: ["input"],
});

export const planOf = (more: Partial<Plan> = {}): Plan => ({
  route: "transform>engine",
  stages: [step("a")],
  sinks: [{ id: "out", kind: "onedata.outputs", service: "engine", config: {}, configHash: "h", inputs: [0] }],
  ...more,
});

/** A sink that a load service writes. */
export const LOAD_SINK = { id: "table", kind: "x", service: "load", config: {}, configHash: "h", inputs: [0] };

/** 13 is filtered, 17 fails, 19 asks for a retry. */
export type ServiceRules = {
  /** Throws for a whole call, seeing what is in it. */
  apply?: ((values: readonly number[]) => void | Promise<void>) | undefined;
  /** What becomes of one record; undefined = it goes through. */
  record?: ((value: number) => "filtered" | "failed" | "later" | undefined) | undefined;
  write?: ((values: readonly number[]) => void | Promise<void>) | undefined;
  /** Whether Describe has an example; the example's record is {"v":-1}. */
  hasExample?: boolean;
};

export type TestService = {
  readonly clients: ServiceClients;
  readonly rules: ServiceRules;
  readonly calls: { apply: number; write: number };
  /** Values that were written, in order. */
  readonly written: number[];
};

const decode = (bytes: Uint8Array): number => (JSON.parse(new TextDecoder().decode(bytes)) as { v: number }).v;
const DEFAULT_RECORD: NonNullable<ServiceRules["record"]> = (value) =>
  value === 13 ? "filtered" : value === 17 ? "failed" : value === 19 ? "later" : undefined;

export function createTestService(rules: ServiceRules = {}): TestService {
  const calls = { apply: 0, write: 0 };
  const written: number[] = [];
  const transform: TransformClient = {
    describe: async () => ({
      service: "transform",
      version: "1",
      operations: rules.hasExample === true ? [EXAMPLE] : [],
    }),
    checkStep: () => Promise.reject(new Error("not asked")),
    apply: (request, options) => abortable(options?.signal, () => apply(request)),
  };
  const apply = async (request: ApplyRequest): Promise<ApplyResponse> => {
    calls.apply += 1;
    const records = (request.groups ?? []).flatMap((group) => group.records ?? []);
    await rules.apply?.(records.map(({ json = EMPTY }) => decode(json)));
    return { results: records.map(({ n = 0, json = EMPTY }) => ({ n, outcome: toOutcome(json, rules.record ?? DEFAULT_RECORD) })) };
  };
  const load: LoadClient = {
    describe: () => Promise.reject(new Error("not asked")),
    checkSink: () => Promise.reject(new Error("not asked")),
    checkConnection: () => Promise.reject(new Error("not asked")),
    write: (request, options) =>
      abortable(options?.signal, async () => {
        calls.write += 1;
        const records = (request.groups ?? []).flatMap((group) => group.records ?? []);
        const values = records.map(({ json = EMPTY }) => decode(json));
        await rules.write?.(values);
        written.push(...values);
        return { results: records.map(({ n = 0 }) => ({ n, outcome: { $case: "written" as const, value: {} } })) };
      }),
  };
  return { clients: { transform: () => transform, load: () => load }, rules, calls, written };
}

const EMPTY = new Uint8Array();
const EXAMPLE = {
  name: "record.map",
  title: "",
  doc: "",
  configSchema: "{}",
  shape: "map",
  effects: "none",
  needsConnection: false,
  engineHandled: false,
  examples: [{ name: "one", config: "{}", input: '{"v":-1}', outputs: '[{"v":-1}]', filtered: false, fails: "" }],
};

function toOutcome(json: Uint8Array, judge: NonNullable<ServiceRules["record"]>): ApplyResponse["results"][number]["outcome"] {
  const value = decode(json);
  const verdict = judge(value);
  if (verdict === undefined) return { $case: "outputs", value: { json: [json] } };
  if (verdict === "filtered") return { $case: "filtered", value: { step: 0 } };
  const failed = { step: 0, code: verdict === "failed" ? "record.invalid" : "busy", message: `v is ${value}`, retryable: verdict === "later" };
  return { $case: "failed", value: { ...failed, retryAfter: undefined, json: new Uint8Array() } };
}

/** As a transport does it: the caller's signal ends the call, the service goes on. */
async function abortable<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  if (signal === undefined) return work();
  return raceSignal(work(), signal).catch((error: unknown) => {
    throw signal.aborted && error === signal.reason ? OneDataError.from(error) : error;
  });
}

export interface EngineWorld extends AsyncDisposable {
  readonly store: Store;
  startEngine(service: TestService, options?: EngineOptions): Promise<RunningEngine>;
  pipeline(options?: TestPipelineOptions): Promise<TestPipeline>;
}

export interface RunningEngine extends AsyncDisposable {
  readonly engine: Engine;
}

export type Letter = {
  readonly n: number;
  readonly step: string;
  readonly sink: string | null;
  readonly code: string;
  readonly message: string;
  readonly payload: string;
};

export interface TestPipeline {
  readonly tenantId: TenantId;
  readonly pipelineId: PipelineId;
  readonly name: string;
  capture(values: readonly number[], how?: { readonly key?: string; readonly version?: number }): Promise<void>;
  /** Batches in the queue. */
  waiting(): Promise<number>;
  /** Values in the outputs, sorted. */
  outputs(): Promise<number[]>;
  letters(): Promise<Letter[]>;
  lane(): Promise<{ block_reason: string | null; block_failures: number; blocked: boolean } | undefined>;
  /** Lets what blocked lanes and delayed batches wait for pass at once; answers by how many seconds the longest moved. */
  skipWaits(): Promise<number>;
}

const quiet = { info: () => undefined, warn: () => undefined, error: (message: string, fields?: object) => console.error(message, fields) };

/** On a database of its own on the shared server, or on the migrated one that it is given. */
export async function openEngineWorld(given?: AsyncDisposable & { readonly url: string }): Promise<EngineWorld> {
  const database = given ?? (await openTestDatabase());
  const store = openStore(database.url);
  return {
    store,
    async startEngine({ clients }, options = {}) {
      const stop = new AbortController();
      const ports = { store, clients, installation: "test", log: quiet, connection: () => Promise.reject(new Error("no connections here")) };
      const engine = createEngine(ports, { pollMs: 20, ...options });
      const running = engine.run(stop.signal);
      return {
        engine,
        async [Symbol.asyncDispose]() {
          stop.abort();
          await running;
        },
      };
    },
    async pipeline(options = {}) {
      const plan = (options.plan as Plan | undefined) ?? planOf();
      const made = await createTestPipeline(store.sql, { plan, route: plan.route, ...options });
      return toPipeline(store, made, options.ordering !== undefined);
    },
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}

function toPipeline(store: Store, made: Pick<TestPipeline, "tenantId" | "pipelineId" | "name">, ordered: boolean): TestPipeline {
  const { pipelineId } = made;
  const target: CaptureTarget = { tenantId: made.tenantId, pipelineId, version: 1, laneClass: "live", ordered };
  return {
    ...made,
    async capture(values, { key, version = 1 } = {}) {
      const events = values.map((v) => ({ payload: `{"v":${v}}`, ...(key === undefined ? {} : { orderingKey: key }) }));
      const outcomes = await captureGroup(store, [{ target: { ...target, version }, events }]);
      if (outcomes.flat().some(({ kind }) => kind !== "captured")) throw new Error("an event was not captured");
    },
    async waiting() {
      const [row] = await store.sql<{ n: number }[]>`
        select count(*)::int n from onedata.queue q join onedata.lanes l on l.id = q.lane_id where l.pipeline_id = ${pipelineId}`;
      return row?.n ?? 0;
    },
    async outputs() {
      const rows = await store.sql<{ v: number }[]>`
        select (p::json->>'v')::int v from onedata.outputs o, string_to_table(o.payloads, E'\x1e') p where o.pipeline_id = ${pipelineId} order by 1`;
      return rows.map(({ v }) => v);
    },
    letters: async () => [
      ...(await store.sql<
        Letter[]
      >`select n, step, sink, code, message, payload from onedata.dead_letters where pipeline_id = ${pipelineId} order by id`),
    ],
    async lane() {
      const [row] = await store.sql<{ block_reason: string | null; block_failures: number; blocked: boolean }[]>`
        select block_reason, block_failures, blocked_until > clock_timestamp() as blocked from onedata.lanes
         where pipeline_id = ${pipelineId} order by block_failures desc, id limit 1`;
      return row;
    },
    async skipWaits() {
      const [row] = await store.sql<{ seconds: number }[]>`
        with lane as materialized (
          select l.id, l.blocked_until - clock_timestamp() as wait from onedata.lanes l where l.pipeline_id = ${pipelineId} for no key update
        ), batch as materialized (
          -- Locked: the wait that ends is the wait that is counted.
          select q.batch_id, q.available_at - clock_timestamp() as wait from onedata.queue q
           where q.lane_id in (select id from lane) and q.run_id is null and q.available_at > clock_timestamp() for update
        ), freed as (
          update onedata.lanes l set blocked_until = clock_timestamp() from lane where l.id = lane.id and lane.wait > interval '0'
        ), moved as (
          update onedata.queue q set available_at = null from batch where q.batch_id = batch.batch_id
        ) select greatest(0, (select max(extract(epoch from wait)) from lane), (select max(extract(epoch from wait)) from batch))::float8 as seconds`;
      return row?.seconds ?? 0;
    },
  };
}

/** Level-triggered; says what it waits for when it gives up. */
export async function until(what: string, condition: () => Promise<boolean> | boolean, timeoutMs = 20_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`still not: ${what}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

export const range = (count: number, from = 100): number[] => Array.from({ length: count }, (_, i) => from + i);

/** What a test service answers, told to. */
export const fail = (code: ErrorCode, message = "told to"): never => {
  throw new OneDataError(code, message);
};

/** For `until`: nothing of the pipeline is in the queue any more. */
export const isEmpty =
  (pipeline: { waiting(): Promise<number> }): (() => Promise<boolean>) =>
  async () =>
    (await pipeline.waiting()) === 0;
