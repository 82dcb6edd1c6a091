import { randomUUID } from "node:crypto";
import { LoadServiceDefinition } from "@onedata/contracts";
import { bySharedSecret, type Client, createClient, createInprocDirectory, createServiceHost, listen, openTransport } from "@onedata/mesh";
import { connect } from "@onedata/store";
import { openTestDatabase, type TestDatabase } from "@onedata/store/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLoadService, type LoadDeps } from "./load-service.ts";

const SECRET = "a-secret-of-the-mesh";
const encode = (value: unknown): Uint8Array => Buffer.from(typeof value === "string" ? value : JSON.stringify(value), "utf8");

type World = AsyncDisposable & { readonly client: Client<typeof LoadServiceDefinition>; readonly stranger: Client<typeof LoadServiceDefinition> };

async function openWorld(transport: "inproc" | "grpc", deps: LoadDeps = {}): Promise<World> {
  const load = createLoadService(deps);
  const host = createServiceHost({ authenticate: bySharedSecret(SECRET) }).add(LoadServiceDefinition, load.implementation);
  const directory = createInprocDirectory();
  const serving = await listen(host, transport === "inproc" ? "inproc:load" : "127.0.0.1:0", { directory });
  const opened = await openTransport(serving.address, { directory });
  return {
    client: createClient(LoadServiceDefinition, opened, { caller: "engine", meshSecret: SECRET }),
    stranger: createClient(LoadServiceDefinition, opened, { caller: "transform", meshSecret: SECRET }),
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]();
      await serving[Symbol.asyncDispose]();
      await load[Symbol.asyncDispose]();
    },
  };
}

describe.each(["inproc", "grpc"] as const)("the load service over %s", (transport) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await openTestDatabase();
  });
  afterAll(() => database[Symbol.asyncDispose]());

  const connection = () => ({ name: "warehouse", kind: "postgres", configJson: encode({ url: database.url }) });
  const group = (rest: object) => ({
    sink: "postgres.insert",
    sinkId: "orders",
    pipeline: "orders",
    version: 1,
    tenant: "1",
    configHash: "h",
    ...rest,
  });
  const record = (n: number, json: string) => ({
    n,
    key: `k${n}`,
    json: encode(json),
    timeUnixNanos: 1_700_000_000_000_000_000n,
    source: { batchId: 1n, n, generation: 0 },
  });
  const outcomes = (results: readonly { n: number; outcome?: { $case: string; value: object } | undefined }[]) =>
    Object.fromEntries(results.map(({ n, outcome }) => [n, outcome !== undefined && "code" in outcome.value ? outcome.value.code : outcome?.$case]));

  it("describes its sinks, and which of them the engine keeps itself", async () => {
    await using world = await openWorld(transport);
    const { service, sinks } = await world.client.describe({});
    expect([service, Object.fromEntries(sinks.map((sink) => [sink.name, sink.engineHandled]))]).toEqual([
      "load",
      { "onedata.outputs": true, "postgres.insert": false, "postgres.upsert": false, "file.ndjson": true, "file.csv": true, "http.post": false },
    ]);
    for (const sink of sinks) expect(JSON.parse(sink.configSchema)).toMatchObject({ type: "object", additionalProperties: false });
  });

  it("answers every record once, whatever is wrong with its group", async () => {
    await using world = await openWorld(transport);
    const table = `t_${transport}`;
    const request = {
      runId: randomUUID(),
      installation: randomUUID(),
      groups: [
        group({
          configJson: encode({ connection: "warehouse", table }),
          connection: connection(),
          records: [record(0, '{"id":12345678901234567890}'), record(1, '{"id":"x"}')],
        }),
        group({ sinkId: "b", configJson: encode({ connection: "warehouse" }), connection: connection(), records: [record(2, "{}")] }),
        group({ sinkId: "c", configJson: encode("not json"), records: [record(3, "{}")] }),
        group({ sinkId: "d", sink: "pigeon.post", configJson: encode({}), records: [record(4, "{}")] }),
        group({
          sinkId: "e",
          configJson: encode({ connection: "warehouse", table }),
          connection: { name: "warehouse", kind: "postgres", configJson: encode({ url: "postgres://u:s3cret@127.0.0.1:1/x" }) },
          records: [record(5, '{"id":1}')],
        }),
      ],
    };
    const check = await world.client.checkSink({
      sink: "postgres.insert",
      configJson: encode({ connection: "warehouse", table }),
      connection: connection(),
      tenant: "1",
    });
    expect(check.problems).toMatchObject([{ pointer: "/table", detail: expect.stringContaining("does not exist") }]);
    await run(database.url, `create table ${table} (id numeric)`);
    const first = await world.client.write(request);
    expect(outcomes(first.results)).toEqual({
      0: "written",
      1: "sink.rejected",
      2: "config.invalid",
      3: "config.invalid",
      4: "sink.unavailable",
      5: "sink.unavailable",
    });
    expect(JSON.stringify(first.results)).not.toContain("s3cret");
    expect(outcomes((await world.client.write(request)).results)[0]).toBe("duplicate");
    expect(
      (
        await world.client.checkSink({
          sink: "postgres.insert",
          configJson: encode({ connection: "warehouse", table }),
          connection: connection(),
          tenant: "1",
        })
      ).problems,
    ).toEqual([]);
  });

  it("fails the call as a whole only when every sink of it is away", async () => {
    await using world = await openWorld(transport, { platformDatabaseUrl: database.url });
    const request = {
      runId: randomUUID(),
      installation: randomUUID(),
      groups: [group({ configJson: encode({ connection: "warehouse", table: "t" }), connection: connection(), records: [record(0, "{}")] })],
    };
    await expect(world.client.write(request)).rejects.toMatchObject({
      code: "sink.unavailable",
      message: expect.stringMatching(/platform's own database/),
    });
    expect((await world.client.checkConnection({ connection: connection() })).problem).toMatch(/platform's own database/);
    const other = await world.client.checkConnection({
      connection: { ...connection(), configJson: encode({ url: database.url.replace(/\/[^/]*$/, "/postgres") }) },
    });
    expect(other.problem).toBe("");
    expect(
      (
        await world.client.checkConnection({
          connection: { ...connection(), configJson: encode({ url: database.url.replace(/:[^:@]*@/, ":wrong@") }) },
        })
      ).problem,
    ).toMatch(/password authentication failed/);
  });

  it("is called by the engine and by control only", async () => {
    await using world = await openWorld(transport);
    await expect(world.stranger.describe({})).rejects.toMatchObject({ code: "auth.caller_denied" });
  });
});

async function run(url: string, statement: string): Promise<void> {
  const sql = connect(url, { max: 1, applicationName: "test" });
  await sql.unsafe(statement);
  await sql.end();
}
