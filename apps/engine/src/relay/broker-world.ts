/** For tests: engines on a database of their own, with a broker, over a service that answers what it is given. Non-duty: production code never imports this. */
import type { Plan } from "@onedata/core";
import { type CaptureTarget, captureGroup, listenForWakes, openStore, openWaker, type Store } from "@onedata/store";
import { createTestPipeline, openTestDatabase } from "@onedata/store/testing";
import { createEngine, type EngineOptions } from "../engine.ts";
import type { EngineLog } from "../engine-log.ts";
import type { ServiceClients, TransformClient } from "../service-calls.ts";
import { openEngineBroker } from "./open-engine-broker.ts";

export interface BrokerWorld extends AsyncDisposable {
  readonly store: Store;
  readonly target: CaptureTarget;
  readonly installation: string;
  /** Captures events and wakes, as a gateway does. */
  capture(count: number): Promise<void>;
  /** One event of this key, into a pipeline of its own that keeps the order of keys. */
  captureInOrder(key: string): Promise<void>;
  /** Captures one event whose pointer was handed over, as the mark says, and lost. */
  captureLost(): Promise<void>;
  startEngine(brokerUrl: string, options?: EngineOptions): Promise<RunningEngine>;
  /** Events without a verdict. */
  waiting(): Promise<number>;
  /** Events by what woke the run that gave their verdict. */
  wokenBy(): Promise<Readonly<Record<string, number>>>;
  /** What the engines logged as warnings. */
  readonly warnings: string[];
}

export interface RunningEngine extends AsyncDisposable {
  readonly brokerState: string;
}

const PLAN: Plan = {
  route: "transform>engine",
  stages: [{ service: "transform", steps: [{ id: "a", index: 0, operation: "record.map", config: {}, configHash: "h" }], inputs: ["input"] }],
  sinks: [{ id: "out", kind: "onedata.outputs", service: "engine", config: {}, configHash: "h", inputs: [0] }],
};

const transform: TransformClient = {
  describe: () => Promise.reject(new Error("not asked")),
  checkStep: () => Promise.reject(new Error("not asked")),
  apply: async (request) => ({
    results: (request.groups ?? []).flatMap((group) =>
      (group.records ?? []).map(({ n = 0, json = new Uint8Array() }) => ({ n, outcome: { $case: "outputs" as const, value: { json: [json] } } })),
    ),
  }),
};
const clients: ServiceClients = { transform: () => transform, load: () => undefined };

export async function openBrokerWorld(): Promise<BrokerWorld> {
  const database = await openTestDatabase();
  const store = openStore(database.url);
  const waker = openWaker(database.url);
  const made = await createTestPipeline(store.sql, { plan: PLAN, route: PLAN.route });
  const target: CaptureTarget = { tenantId: made.tenantId, pipelineId: made.pipelineId, version: 1, laneClass: "live", ordered: false };
  const keyed = await createTestPipeline(store.sql, { plan: PLAN, route: PLAN.route, ordering: "k", tenantId: made.tenantId });
  const warnings: string[] = [];
  const log: EngineLog = {
    info: () => undefined,
    warn: (message, fields) => void warnings.push(`${message} ${JSON.stringify(fields)}`),
    error: (message, fields) => console.error(message, fields),
  };
  const installation = database.name.replaceAll("_", "");
  return {
    store,
    target,
    installation,
    warnings,
    async capture(count) {
      await captureGroup(store, [{ target, events: Array.from({ length: count }, (_, i) => ({ payload: `{"v":${i}}` })) }]);
      waker.wake();
    },
    async captureInOrder(key) {
      const ordered: CaptureTarget = { ...target, pipelineId: keyed.pipelineId, ordered: true };
      await captureGroup(store, [{ target: ordered, events: [{ payload: `{"k":"${key}"}`, orderingKey: key }] }]);
      waker.wake();
    },
    async captureLost() {
      await store.sql.begin(async (transaction) => {
        await transaction`
          select onedata.write_batch(l.tenant_id, l.pipeline_id, l.id, array['{"v":1}'], array[null]::text[]) from onedata.lanes l
           where l.pipeline_id = ${target.pipelineId} and l.class = 'live' limit 1`;
        await transaction`update onedata.queue set state = 'published', publish_seq = 1, published_at = clock_timestamp() where state = 'ready'`;
      });
    },
    async startEngine(brokerUrl, options = {}) {
      const broker = await openEngineBroker(brokerUrl, database.url);
      const stop = new AbortController();
      const engine = createEngine(
        {
          store,
          clients,
          installation,
          log,
          connection: () => Promise.reject(new Error("no connections here")),
          listen: (wake) => listenForWakes(database.url, wake),
          broker,
        },
        options,
      );
      const running = engine.run(stop.signal);
      return {
        get brokerState() {
          return engine.brokerState;
        },
        async [Symbol.asyncDispose]() {
          stop.abort();
          await running;
          await broker?.[Symbol.asyncDispose]();
        },
      };
    },
    async waiting() {
      const [row] = await store.sql<{ n: number }[]>`select coalesce(sum(n), 0)::int as n from onedata.queue`;
      return row?.n ?? 0;
    },
    async wokenBy() {
      const rows = await store.sql<{ by: string; n: number }[]>`select woken_by as by, count(*)::int as n from onedata.runs group by 1`;
      return Object.fromEntries(rows.map(({ by, n }) => [by, n]));
    },
    async [Symbol.asyncDispose]() {
      await waker[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}
