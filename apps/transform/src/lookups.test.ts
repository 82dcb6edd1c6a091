/** Lookups of several tenants in one call, over the in-process transport, against real databases. */
import { type AddressInfo, createServer, type Socket } from "node:net";
import { TransformServiceDefinition, type transformV1 } from "@onedata/contracts";
import { bySharedSecret, createClient, createInprocDirectory, createInprocTransport, createServiceHost } from "@onedata/mesh";
import { createPostgresLookups } from "@onedata/sinks/lookup";
import { connect } from "@onedata/store";
import { openTestDatabase } from "@onedata/store/testing";
import { describe, expect, it } from "vitest";
import { createTransformService } from "./transform-service.ts";

const SECRET = "a mesh secret of some length";

function openService() {
  const databases = createPostgresLookups();
  const service = createTransformService({ lookups: () => ({ get: () => Promise.resolve(new Map()) }), databases });
  const directory = createInprocDirectory();
  const host = createServiceHost({
    authenticate: bySharedSecret(SECRET),
    onInternalError: (error, { path }) => process.stderr.write(`${path}: ${error instanceof Error ? error.stack : String(error)}\n`),
  });
  directory.serve("transform", host.add(TransformServiceDefinition, service));
  const client = createClient(TransformServiceDefinition, createInprocTransport("transform", directory), { caller: "engine", meshSecret: SECRET });
  return { client, [Symbol.asyncDispose]: () => databases[Symbol.asyncDispose]() };
}

async function openCountries(name: string) {
  const database = await openTestDatabase();
  const sql = connect(database.url, { max: 2, applicationName: "test" });
  await sql`create table countries (code text primary key, name text)`;
  await sql`insert into countries values ('NO', ${name})`;
  return {
    url: database.url,
    sql,
    async [Symbol.asyncDispose]() {
      await sql.end({ timeout: 5 });
      await database[Symbol.asyncDispose]();
    },
  };
}

const encode = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const decode = (bytes: Uint8Array | undefined): unknown => JSON.parse(new TextDecoder().decode(bytes));
const connection = (url: string, kind = "postgres"): transformV1.Connection => ({ name: "warehouse", kind, configJson: encode({ url }) });
const lookup = (config: object, own: transformV1.Connection | undefined): transformV1.ApplyStep => ({
  operation: "enrich.lookup",
  configJson: encode({ connection: "warehouse", table: "countries", on: "code", take: ["name"], ...config }),
  configHash: "",
  connection: own,
});
const group = (tenant: string, steps: transformV1.ApplyStep[], records: transformV1.Record[]): transformV1.ApplyGroup => ({
  pipeline: `of-${tenant}`,
  version: 1,
  tenant,
  steps,
  records,
});
const record = (n: number, value: object): transformV1.Record => ({ n, json: encode(value), timeUnixNanos: 0n });
const shown = ({ results }: transformV1.ApplyResponse) =>
  Object.fromEntries(
    results.map(({ n, outcome }) => [
      n,
      outcome?.$case === "outputs"
        ? outcome.value.json.map(decode)
        : outcome?.$case === "failed"
          ? `${outcome.value.code}${outcome.value.retryable ? ", retryable" : ""}`
          : outcome?.$case,
    ]),
  );

describe("lookups of several tenants in one call", () => {
  it("see their own database under one name, and one that is away fails its own records only", async () => {
    await using first = await openCountries("Norway");
    await using second = await openCountries("Noreg");
    await using service = openService();
    const away = connection("postgres://ana:s3cret@127.0.0.1:1/shop");
    const answer = await service.client.apply({
      runId: "r",
      groups: [
        group("3", [lookup({}, away)], [record(0, { code: "NO" }), record(1, { code: "SE" })]),
        group("1", [lookup({}, connection(first.url))], [record(2, { code: "NO" }), record(3, { code: "XX" }), record(4, {})]),
        group("2", [lookup({ missing: "null" }, connection(second.url))], [record(5, { code: "NO" }), record(6, { code: "XX" })]),
        group("4", [lookup({}, undefined)], [record(7, { code: "NO" })]),
        group("5", [lookup({}, connection("https://example.com", "http"))], [record(8, { code: "NO" })]),
      ],
    });
    expect(shown(answer)).toEqual({
      0: "connection.unavailable, retryable",
      1: "connection.unavailable, retryable",
      2: [{ code: "NO", name: "Norway" }],
      3: "lookup.missing",
      4: "lookup.missing",
      5: [{ code: "NO", name: "Noreg" }],
      6: [{ code: "XX", name: null }],
      7: "connection.unavailable, retryable",
      8: "connection.unavailable, retryable",
    });
    expect(JSON.stringify(answer, (_, value: unknown) => (typeof value === "bigint" ? String(value) : value))).not.toContain("s3cret");
  });

  it("wait for databases all at once: who comes after a database that hangs has its answer before it does", async () => {
    await using first = await openCountries("Norway");
    await using second = await openCountries("Noreg");
    await using service = openService();
    // The first database answers only when the second has been read.
    const held = await first.sql.reserve();
    await held`begin`;
    await held`lock table countries in access exclusive mode`;
    const answer = service.client.apply({
      runId: "r",
      groups: [
        group("1", [lookup({}, connection(first.url))], [record(0, { code: "NO" })]),
        group("2", [lookup({}, connection(second.url))], [record(1, { code: "NO" })]),
      ],
    });
    const readers = () =>
      second.sql`select 1 from pg_stat_activity where datname = current_database() and application_name = 'onedata lookup' and query like 'with keys%'`;
    while ((await readers()).length === 0);
    await held`commit`;
    held.release();
    expect(shown(await answer)).toEqual({ 0: [{ code: "NO", name: "Norway" }], 1: [{ code: "NO", name: "Noreg" }] });
  });

  it("give up on a database that never answers in time for the others' answers, and do not try it again at once", async () => {
    await using first = await openCountries("Norway");
    await using service = openService();
    const sockets: Socket[] = [];
    const silent = createServer((socket) => sockets.push(socket.on("error", () => undefined)));
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as AddressInfo;
    const call = (table: string) =>
      service.client.apply({
        runId: "r",
        groups: [
          group("3", [lookup({ table }, connection(`postgres://u:p@127.0.0.1:${port}/none`))], [record(0, { code: "NO" })]),
          group("1", [lookup({}, connection(first.url))], [record(1, { code: "NO" })]),
        ],
      });
    const expected = { 0: "connection.unavailable, retryable", 1: [{ code: "NO", name: "Norway" }] };
    expect(shown(await call("countries"))).toEqual(expected);
    expect(shown(await call("cities"))).toEqual(expected);
    expect(sockets).toHaveLength(1);
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silent.close(resolve));
  });

  it("are part of a chain: steps before and after them run as ever", async () => {
    await using first = await openCountries("Norway");
    await using service = openService();
    const map = (set: object): transformV1.ApplyStep => ({
      operation: "record.map",
      configJson: encode({ set }),
      configHash: "",
      connection: undefined,
    });
    const steps = [map({ code: "$uppercase(code)" }), lookup({}, connection(first.url)), map({ greeting: "'Hello ' & name" })];
    const answer = await service.client.apply({ runId: "r", groups: [group("1", steps, [record(0, { code: "no" })])] });
    expect(shown(answer)).toEqual({ 0: [{ code: "NO", name: "Norway", greeting: "Hello Norway" }] });
  });
});

describe("checking a step", () => {
  it("points at the member that is wrong, and warns where a member is slow", async () => {
    await using first = await openCountries("Norway");
    await using service = openService();
    const check = async (config: object, own: transformV1.Connection | undefined = connection(first.url)) => {
      const { problems } = await service.client.checkStep({ ...lookup(config, own), tenant: "1" });
      return problems.map(({ pointer, warning }) => `${pointer}${warning ? " warning" : ""}`);
    };
    expect(await check({})).toEqual([]);
    expect(await check({ table: "public.planets" })).toEqual(["/table"]);
    expect(await check({ on: "kode", take: ["name", "capital"] })).toEqual(["/on", "/take/1"]);
    expect(await check({ column: "kode", take: { "a/b": "x" } })).toEqual(["/column", "/take/a~1b"]);
    expect(await check({ column: "name" })).toEqual(["/column warning"]);
    expect(await check({}, connection("postgres://u:p@127.0.0.1:1/none"))).toEqual(["/connection"]);
    expect(await check({}, connection("https://example.com", "http"))).toEqual(["/connection"]);
    const { problems } = await service.client.checkStep({ operation: "record.map", configJson: encode({ set: {} }), tenant: "1" });
    expect(problems).toEqual([]);
  });
});
