/** Another application captures in its own transactions, as a database role that is a principal of a tenant. */
import { connect, type Sql } from "@onedata/store";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type World } from "../world/world.ts";

describe("capture in SQL (solo)", () => {
  let world: World;
  let application: Sql;
  beforeAll(async () => {
    world = await openWorld("solo");
    // A server that is not this world's own may have it from an earlier one.
    await world.platform.unsafe("drop role if exists shop");
    await world.platform.unsafe("create role shop login password 'shop-password'");
    await world.platform`
      insert into onedata.principals (tenant_id, kind, subject)
      select tenant_id, 'database', 'shop' from onedata.principals where kind = 'client' order by id limit 1`;
    await world.platform`create table shop_orders (id int)`;
    await world.platform`grant insert, select on shop_orders to shop`;
    await world.platform.unsafe(`grant connect on database "${world.platform.options.database}" to shop`);
    const { host, port, database } = world.platform.options;
    application = connect(`postgres://shop:shop-password@${host[0]}:${port[0]}/${database}`, { max: 1, applicationName: "shop" });
    const spec = {
      name: "sales",
      input: { schema: { type: "object", required: ["id"], properties: { price: { type: "number", minimum: 0 } } } },
      steps: [{ id: "mark", use: "record.map", with: { set: { marked: "true" } } }],
    };
    const applied = await world.api.send("PUT", "/v1/pipelines/sales", spec);
    expect(applied.status, applied.text).toBe(200);
  });
  afterAll(async () => {
    await application?.end({ timeout: 2 });
    await world?.[Symbol.asyncDispose]();
  });

  const finished = (id: string) =>
    waitFor(
      "done",
      () => world.api.get(`/v1/events/${id}`),
      ({ json }) => json?.state === "done",
    );
  const capture = async (sql: Sql, payload: string, pipeline = "sales"): Promise<string> => {
    const [row] = await sql<{ id: string }[]>`select onedata.capture(${pipeline}, ${payload}) as id`;
    return row?.id ?? "";
  };

  it("delivers what was committed with the application's own rows, and knows nothing of what was rolled back", async () => {
    let undone = "";
    const failing = application.begin(async (sql) => {
      await sql`insert into shop_orders values (1)`;
      const [row] = await sql<{ id: string }[]>`select onedata.capture('sales', '{"id":1}') as id`;
      undone = row?.id ?? "";
      throw new Error("no stock");
    });
    await expect(failing).rejects.toThrow("no stock");
    const kept = await application.begin(async (sql) => {
      await sql`insert into shop_orders values (2)`;
      const [row] = await sql<{ id: string }[]>`select onedata.capture('sales', '{"id":2}') as id`;
      return row?.id ?? "";
    });
    expect((await finished(kept)).json).toMatchObject({ pipeline: "sales", verdict: "delivered" });
    expect(undone).toMatch(/^evt_/);
    expect((await world.api.get(`/v1/events/${undone}`)).json.code).toBe("event.not_found");
    const outputs = await world.api.get("/v1/pipelines/sales/outputs");
    expect(outputs.json.outputs.map(({ record }: { record: object }) => record)).toEqual([{ id: 2, marked: true }]);
    expect(await application`select id from shop_orders`).toMatchObject([{ id: 2 }]);
  });

  it("buries what does not match the input schema, and delivers its neighbours of the same commit", async () => {
    const rows = await application<{ id: string }[]>`
      select id from onedata.capture_many('sales', array['{"id":10}', '{"price":1}', '{"id":11,"price":-1}', '{"id":12,"price":3}']) id`;
    const events = await Promise.all(rows.map(({ id }) => finished(id)));
    expect(events.map(({ json }) => json.verdict)).toEqual(["delivered", "dead", "dead", "delivered"]);
    expect(events[1]?.json.deadLetters).toMatchObject([{ step: "input", code: "input.invalid", message: expect.stringContaining("id") }]);
    expect(events[2]?.json.deadLetters).toMatchObject([{ code: "input.invalid", message: expect.stringContaining("/price") }]);
  });

  it("refuses other tenants' pipelines, what is no JSON, and roles that are nobody's", async () => {
    await world.api.send("POST", "/v1/tenants", { name: "other" });
    const made = await world.api.send("POST", "/v1/clients", { name: "them", tenant: "other", scopes: ["pipelines:read", "pipelines:write"] });
    const them = await world.api.as(made.json, "pipelines:read pipelines:write");
    expect((await them.send("PUT", "/v1/pipelines/theirs", { name: "theirs" })).status).toBe(200);
    await expect(capture(application, '{"id":1}', "theirs")).rejects.toThrow("no pipeline theirs");
    await expect(capture(application, '{"id":', "sales")).rejects.toMatchObject({ code: "22P02" });
    await expect(application`select * from onedata.events`).rejects.toMatchObject({ code: "42501" });
    await expect(capture(world.platform, '{"id":1}')).rejects.toMatchObject({ code: "42501" });
  });
});
