/** `enrich.lookup` over tables of tenants' own databases, on both profiles: two tenants share every service and every route, one of their databases goes away. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "@onedata/store";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Answer, Api, Json } from "../world/api.ts";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type Profile, type World } from "../world/world.ts";

const SCOPES = ["connections:read", "connections:write", "events:read", "events:write", "pipelines:read", "pipelines:write"];
const NAMES = { default: "Norway", other: "Noreg" };

describe.each<Profile>(["solo", "cluster"])("lookups in tables (%s)", (profile) => {
  let world: World;
  let mine: Api;
  let theirs: Api;
  beforeAll(async () => {
    world = await openWorld(profile);
    mine = world.api;
    await mine.send("POST", "/v1/tenants", { name: "other" });
    const made = await mine.send("POST", "/v1/clients", { name: "them", tenant: "other", scopes: SCOPES });
    theirs = await mine.as(made.json, SCOPES.join(" "));
    await openShop(world, mine, "default");
    await openShop(world, theirs, "other");
  });
  afterAll(() => world?.[Symbol.asyncDispose]());

  const spec = (name: string, lookup: object, more: object = {}) => ({
    name,
    steps: [
      { id: "clean", use: "record.map", with: { set: { code: "$uppercase(code)" } } },
      { id: "country", use: "enrich.lookup", with: { connection: "shop", table: "public.countries", on: "code", take: ["name"], ...lookup } },
    ],
    ...more,
  });
  const put = (api: Api, document: { name: string }, query = ""): Promise<Answer> =>
    api.send("PUT", `/v1/pipelines/${document.name}${query}`, document);
  const records = async (api: Api, pipeline: string): Promise<Json[]> =>
    (await api.get(`/v1/pipelines/${pipeline}/outputs`)).json.outputs.map(({ record }: Json) => record);

  it("take rows of one's own database, also in tests and previews", async () => {
    const tests = [{ name: "real rows", given: [{ code: "no" }], expect: [{ code: "NO", name: NAMES.default }] }];
    const applied = await put(mine, spec("countries", {}, { tests }));
    expect([applied.status, applied.json.warnings, applied.json.tests?.[0]?.passed]).toEqual([200, [], true]);
    const sent = await mine.send("POST", "/v1/pipelines/countries/events", { code: "no" }, { prefer: "wait=20" });
    expect(sent.json).toMatchObject({ verdict: "delivered" });
    expect(await records(mine, "countries")).toEqual([{ code: "NO", name: NAMES.default }]);
    const preview = await mine.send("POST", "/v1/pipelines/countries:preview", { records: [{ code: "XX" }] });
    expect(preview.json.records[0]).toMatchObject({ verdict: "dead", steps: [{ step: "clean" }, { step: "country", code: "lookup.missing" }] });
  });

  it("are checked when the spec is applied, each problem at its place", async () => {
    const problems = async (lookup: object) => {
      const { status, json } = await put(mine, spec("checked", lookup), "?dryRun=true");
      return [status, ...(json.errors ?? json.warnings).map(({ pointer, code }: Json) => `${pointer} ${code}`)];
    };
    const at = "/steps/1/with";
    expect(await problems({ table: "planets" })).toEqual([422, `${at}/table config.invalid`]);
    expect(await problems({ column: "kode", take: ["name", "capital"] })).toEqual([
      422,
      `${at}/column config.invalid`,
      `${at}/take/1 config.invalid`,
    ]);
    expect(await problems({ connection: "elsewhere" })).toEqual([422, `${at}/connection connection.not_found`]);
    expect(await problems({ column: "name", take: ["code"] })).toEqual([200, `${at}/column lookup.no_index`]);
    const preview = await mine.send("POST", "/v1/pipelines/checked:preview", { document: JSON.stringify(spec("checked", { table: "planets" })) });
    expect([preview.status, preview.json.errors?.[0]?.pointer]).toEqual([422, `${at}/table`]);
  });

  it("never reach another tenant's connection: neither by its name, nor its rows by a name of one's own", async () => {
    // `warehouse` is there, for the first tenant.
    expect((await put(mine, spec("borrowed", { connection: "warehouse", table: "airports", on: "iata" }), "?dryRun=true")).status).toBe(200);
    const refused = await put(theirs, spec("borrowed", { connection: "warehouse", table: "airports", on: "iata" }));
    expect([refused.status, refused.json.errors?.[0]]).toMatchObject([422, { pointer: "/steps/1/with/connection", code: "connection.not_found" }]);
    expect((await put(theirs, spec("countries", {}))).status).toBe(200);
    await theirs.send("POST", "/v1/pipelines/countries/events", { code: "no" }, { prefer: "wait=20" });
    expect(await records(theirs, "countries")).toEqual([{ code: "NO", name: NAMES.other }]);
    expect((await theirs.send("DELETE", "/v1/connections/shop")).json.code).toBe("connection.in_use");
  });

  it("wait for a database that is away, by themselves: nothing dies, order is kept, the other tenant never waits", async () => {
    const document = spec("orders2", { cacheSeconds: 0 }, { input: { ordering: "customer" } });
    for (const api of [mine, theirs]) expect((await put(api, document)).status).toBe(200);
    const send = (api: Api, body: object, headers: Record<string, string> = {}) => api.send("POST", "/v1/pipelines/orders2/events", body, headers);
    await world.platform.unsafe("alter database shop_default allow_connections false");
    await world.platform`select pg_terminate_backend(pid) from pg_stat_activity where datname = 'shop_default'`;

    const held: string[] = [];
    for (let i = 0; i < 12; i++) {
      const sent = await send(mine, { code: "no", customer: i % 3, i });
      held.push(sent.json.id);
      // Beside them, in the same route: as if nothing were.
      expect((await send(theirs, { code: "no", customer: i % 3, i }, { prefer: "wait=20" })).json).toMatchObject({ verdict: "delivered" });
    }
    const waiting = await waitFor(
      "told what it waits for",
      () => mine.get(`/v1/events/${held[0]}`),
      ({ json }) => json?.waitingFor?.includes("connection shop of orders2"),
    );
    expect(waiting.json.waitingFor).toMatch(
      /^service transform \(connection shop of orders2\): .*shop_default.*\(connection\.unavailable\), since .*next try/,
    );
    expect(await records(mine, "orders2")).toEqual([]);
    const preview = await mine.send("POST", "/v1/pipelines/orders2:preview", { records: [{ code: "no" }] });
    expect([preview.status, preview.json.code]).toEqual([503, "connection.unavailable"]);
    const theirLanes = () => world.platform`
      select count(*)::int as n from onedata.lanes l join onedata.tenants t on t.id = l.tenant_id where t.name = 'other' and (l.block_failures > 0 or l.blocked_until is not null)`;
    expect(await theirLanes()).toEqual([{ n: 0 }]);

    await world.platform.unsafe("alter database shop_default allow_connections true");
    for (const id of held)
      await waitFor(
        "delivered",
        () => mine.get(`/v1/events/${id}`),
        ({ json }) => json?.verdict === "delivered",
        90_000,
      );
    const delivered = await records(mine, "orders2");
    expect(delivered).toHaveLength(12);
    for (const customer of [0, 1, 2])
      expect(delivered.filter((record) => record.customer === customer).map(({ i }) => i)).toEqual([0, 3, 6, 9].map((i) => i + customer));
    expect(delivered.every(({ name }) => name === NAMES.default)).toBe(true);
    for (const api of [mine, theirs]) expect((await api.get("/v1/dead-letters?pipeline=orders2")).json.deadLetters).toEqual([]);
    expect(await theirLanes()).toEqual([{ n: 0 }]);
  }, 180_000);
});

/** A database and a role of the tenant's own, and its connection `shop`. */
async function openShop({ home, platform }: World, api: Api, tenant: keyof typeof NAMES): Promise<void> {
  const database = `shop_${tenant}`;
  const read = (file: string): string => readFileSync(join(home, "postgres", file), "utf8").trim();
  await platform.unsafe(`create database ${database}`);
  await platform.unsafe(`create role ${database} login password 'pw-${tenant}'`);
  const shop = connect(`postgres://postgres:${read("pg-password")}@127.0.0.1:${read("port")}/${database}`, { max: 1, applicationName: "test" });
  await shop.unsafe(`create table countries (code text primary key, name text); insert into countries values ('NO', '${NAMES[tenant]}');
    grant select on countries to ${database}`);
  await shop.end({ timeout: 5 });
  const connection = { kind: "postgres", config: { host: "127.0.0.1", port: Number(read("port")), database, user: database } };
  const answer = await api.send("PUT", "/v1/connections/shop", { ...connection, secrets: { password: `pw-${tenant}` } });
  expect(answer.status).toBe(200);
}
