/**
 * For tests: control behind its real service host and the in-process transport, on a database of its own, beside a transform, a load and a lab service that
 * speak the contract. Non-duty: production code never imports this.
 */
import {
  CatalogServiceDefinition,
  ConnectionServiceDefinition,
  DeadLetterServiceDefinition,
  EventServiceDefinition,
  ImportServiceDefinition,
  JobServiceDefinition,
  LabServiceDefinition,
  LoadServiceDefinition,
  LookupServiceDefinition,
  PipelineServiceDefinition,
  readContract,
  SubscriptionServiceDefinition,
  SystemServiceDefinition,
  TenantServiceDefinition,
  TransformServiceDefinition,
} from "@onedata/contracts";
import { OneDataError, type TenantId, toPointer } from "@onedata/core";
import {
  bySharedSecret,
  type CallOptions,
  type Client,
  createClient,
  createInprocDirectory,
  createInprocTransport,
  createServiceHost,
  type Implementation,
  type ResponseInit,
  type ServiceDefinition,
} from "@onedata/mesh";
import { applySteps, operations, type RecordResult, StepCache } from "@onedata/operations";
import { openStore, type Store } from "@onedata/store";
import { createTestTenant, openTestDatabase } from "@onedata/store/testing";
import { createControl } from "./create-control.ts";

export interface ControlWorld extends AsyncDisposable {
  readonly store: Store;
  readonly pipelines: Client<typeof PipelineServiceDefinition>;
  readonly events: Client<typeof EventServiceDefinition>;
  readonly deadLetters: Client<typeof DeadLetterServiceDefinition>;
  readonly jobs: Client<typeof JobServiceDefinition>;
  readonly subscriptions: Client<typeof SubscriptionServiceDefinition>;
  readonly system: Client<typeof SystemServiceDefinition>;
  readonly imports: Client<typeof ImportServiceDefinition>;
  readonly catalog: Client<typeof CatalogServiceDefinition>;
  readonly connections: Client<typeof ConnectionServiceDefinition>;
  readonly lookups: Client<typeof LookupServiceDefinition>;
  readonly tenants: Client<typeof TenantServiceDefinition>;
  /** Two tenants; `ana` of the first and `bo` of the second hold every scope but admin. */
  readonly ana: Required<Pick<CallOptions, "identity">>;
  readonly bo: Required<Pick<CallOptions, "identity">>;
  readonly load: FakeLoad;
  readonly transform: FakeTransform;
  readonly lab: Client<typeof LabServiceDefinition>;
}

/** A load service whose one table is `orders(id, total)`. */
export type FakeLoad = { up: boolean; readonly secretsSeen: string[] };
/** The platform's operations, when it is up. The one table of connections is `countries(code, name)`, without an index. */
export type FakeTransform = { up: boolean };

const SECRET = "a mesh secret of some length";
export const TEST_SECRET_KEY = Buffer.alloc(32, 7).toString("base64");

export async function openControlWorld(): Promise<ControlWorld> {
  const database = await openTestDatabase();
  const store = openStore(database.url, { maxConnections: 6, applicationName: "control-test" });
  const directory = createInprocDirectory();
  const newHost = (): ReturnType<typeof createServiceHost> =>
    createServiceHost({
      authenticate: bySharedSecret(SECRET),
      onInternalError: (error, { path }) => process.stderr.write(`${path}: ${error instanceof Error ? error.stack : String(error)}\n`),
    });
  const load: FakeLoad = { up: true, secretsSeen: [] };
  const transform: FakeTransform = { up: true };
  directory.serve("transform", newHost().add(TransformServiceDefinition, createTransform(transform)));
  directory.serve("load", addLoad(newHost(), load));
  const client = <D extends ServiceDefinition>(definition: D, name: string, caller: string): Client<D> =>
    createClient(definition, createInprocTransport(name, directory), { caller, meshSecret: SECRET });
  const control = createControl({
    store,
    transform: [{ address: "inproc:transform", client: client(TransformServiceDefinition, "transform", "control") }],
    load: { address: "inproc:load", client: client(LoadServiceDefinition, "load", "control") },
    secretKey: TEST_SECRET_KEY,
    allowedAddresses: ["127.0.0.1"],
    log: { warn: () => undefined },
  });
  const host = newHost();
  control.addTo(host);
  directory.serve("control", host);
  return {
    store,
    load,
    transform,
    lab: client(LabServiceDefinition, "control", "gateway"),
    pipelines: client(PipelineServiceDefinition, "control", "gateway"),
    events: client(EventServiceDefinition, "control", "gateway"),
    deadLetters: client(DeadLetterServiceDefinition, "control", "gateway"),
    jobs: client(JobServiceDefinition, "control", "gateway"),
    subscriptions: client(SubscriptionServiceDefinition, "control", "gateway"),
    system: client(SystemServiceDefinition, "control", "gateway"),
    imports: client(ImportServiceDefinition, "control", "gateway"),
    catalog: client(CatalogServiceDefinition, "control", "gateway"),
    connections: client(ConnectionServiceDefinition, "control", "gateway"),
    lookups: client(LookupServiceDefinition, "control", "gateway"),
    tenants: client(TenantServiceDefinition, "control", "gateway"),
    ana: asUser(await createTestTenant(store.sql, "first"), "ana"),
    bo: asUser(await createTestTenant(store.sql, "second"), "bo"),
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await database[Symbol.asyncDispose]();
    },
  };
}

export function asUser(tenantId: TenantId, principal: string, extra: readonly string[] = []): Required<Pick<CallOptions, "identity">> {
  const scopes = new Set(
    readContract()
      .methods.flatMap((method) => method.policy.scopes)
      .filter((scope) => scope !== "admin" && scope !== "mesh:call"),
  );
  return { identity: { tenantId, principal, scopes: [...scopes, ...extra] } };
}

function createTransform(transform: FakeTransform): Implementation<typeof TransformServiceDefinition> {
  const cache = new StepCache(() => ({ lookups: { get: async () => new Map() } }));
  const requireUp = (): void => {
    if (!transform.up) throw new OneDataError("service.unavailable", "the transform service is down");
  };
  return {
    async describe() {
      requireUp();
      return {
        service: "transform",
        version: "test",
        operations: operations.map(({ description }) => ({ ...description, examples: [], configSchema: JSON.stringify(description.configSchema) })),
      };
    },
    async apply({ groups }) {
      requireUp();
      const results = await Promise.all(
        groups.map((group) => {
          const steps = group.steps.map((step) => cache.get(step.operation, Buffer.from(step.configJson).toString("utf8"), group.tenant));
          return applySteps(
            steps,
            group.records.map(({ n, json, timeUnixNanos }) => ({ n, json, timeUnixMs: Number(timeUnixNanos / 1_000_000n) })),
          );
        }),
      );
      return { results: results.flat().map(toResult) };
    },
    async checkStep({ configJson, connection }) {
      requireUp();
      const { table }: { table: string } = JSON.parse(Buffer.from(configJson).toString("utf8"));
      if (connection?.kind !== "postgres")
        return { problems: [{ pointer: "/connection", code: "connection.unavailable", detail: "a lookup needs one of kind postgres" }] };
      return table === "countries"
        ? { problems: [{ pointer: "/column", code: "lookup.no_index", detail: "create an index", warning: true }] }
        : { problems: [{ pointer: "/table", code: "config.invalid", detail: `table ${table} does not exist` }] };
    },
  };
}

function toResult(
  result: RecordResult,
): ResponseInit<(typeof TransformServiceDefinition)["methods"]["apply"]>["results"] extends (infer R)[] | undefined ? R : never {
  const { n } = result;
  if (result.kind === "outputs")
    return { n, outcome: { $case: "outputs", value: { json: result.outputs.map((text) => Buffer.from(text, "utf8")) } } };
  if (result.kind === "filtered") return { n, outcome: { $case: "filtered", value: { step: result.step } } };
  return { n, outcome: { $case: "failed", value: { step: result.step, code: result.code, message: result.message, retryable: result.retryable } } };
}

const TABLE_SCHEMA = JSON.stringify({
  type: "object",
  required: ["connection", "table"],
  properties: { connection: { type: "string" }, table: { type: "string" }, key: { type: "array", items: { type: "string" } } },
  additionalProperties: false,
});

const URL_SCHEMA = JSON.stringify({ type: "object", required: ["url"], properties: { url: { type: "string" } }, additionalProperties: false });

function addLoad(host: ReturnType<typeof createServiceHost>, load: FakeLoad): ReturnType<typeof createServiceHost> {
  const requireUp = (): void => {
    if (!load.up) throw new OneDataError("service.unavailable", "the load service is down");
  };
  return host.addPartial(LoadServiceDefinition, {
    async describe() {
      requireUp();
      return {
        service: "load",
        version: "test",
        sinks: [
          { name: "postgres.upsert", title: "Upsert", doc: "", shape: "map", effects: "write", configSchema: TABLE_SCHEMA, needsConnection: true },
          { name: "http.post", title: "Post", doc: "", shape: "map", effects: "write", configSchema: URL_SCHEMA },
        ],
      };
    },
    async checkSink({ configJson, connection }) {
      requireUp();
      const config: { table?: string } = JSON.parse(Buffer.from(configJson).toString("utf8"));
      load.secretsSeen.push(Buffer.from(connection?.configJson ?? []).toString("utf8"));
      return config.table === undefined || config.table === "orders"
        ? { problems: [] }
        : { problems: [{ pointer: toPointer(["table"]), code: "sink.table_missing", detail: `there is no table ${config.table}; create it` }] };
    },
    async checkConnection({ connection }) {
      requireUp();
      const config: { password?: string } = JSON.parse(Buffer.from(connection?.configJson ?? []).toString("utf8"));
      return { problem: config.password === "right" ? "" : "the server refuses the password" };
    },
  });
}
