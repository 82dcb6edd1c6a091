/** The story of a new user, on both profiles: send, see, read back; somebody else sees nothing. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Api } from "../world/api.ts";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type Profile, type World } from "../world/world.ts";

describe.each<Profile>(["solo", "cluster"])("the spine (%s)", (profile) => {
  let world: World;
  let api: Api;
  beforeAll(async () => {
    world = await openWorld(profile, { isFirstStart: true });
    api = world.api;
  });
  afterAll(() => world?.[Symbol.asyncDispose]());

  const finished = (id: string) =>
    waitFor(
      "done",
      () => api.get(`/v1/events/${id}`),
      ({ json }) => json?.state === "done",
    );

  it("delivers the pasted event into the sink", async () => {
    const sent = await api.send("POST", "/v1/pipelines/orders/events", { id: 1, price: 2, quantity: 3 });
    expect(sent.status).toBe(202);
    expect(sent.json.id).toMatch(/^evt_[0-9a-z]+_0$/);
    const rows = await waitFor(
      "a row",
      () => world.warehouse`select id, price::float, quantity::float, total::float from orders where id = '1'`,
      (found) => found.length === 1,
    );
    expect(rows[0]).toEqual({ id: "1", price: 2, quantity: 3, total: 6 });
    const event = await finished(sent.json.id);
    expect(event.json).toMatchObject({
      pipeline: "orders",
      verdict: "delivered",
      version: 1,
      attempt: 1,
      timeline: [{ outcome: "final", verdict: "delivered" }],
    });
    expect(event.json.traceId).toMatch(/^[0-9a-f]{32}$/);
    await waitFor(
      "figures",
      () => api.get("/v1/pipelines/orders/stats"),
      ({ json }) => json?.delivered >= 1,
    );
    const outputs = await api.get("/v1/pipelines/orders/outputs");
    expect(outputs.json.outputs).toContainEqual({ event: sent.json.id, k: 0, record: { id: 1, price: 2, quantity: 3, total: 6 } });
  });

  it("reads the payload back byte for byte and keeps numbers that no step touched", async () => {
    const spec = { name: "exact", steps: [{ id: "mark", use: "record.map", with: { set: { marked: "true" } } }] };
    expect((await api.send("PUT", "/v1/pipelines/exact", spec)).status).toBe(200);
    const text = '{"a":1.10,"b":12345678901234567890,"c":"\\u0000"}';
    const sent = await api.send("POST", "/v1/pipelines/exact/events", text);
    const event = await finished(sent.json.id);
    expect(event.text).toContain(`"payload":${text}`);
    const outputs = await api.get("/v1/pipelines/exact/outputs");
    expect(outputs.text).toContain('"record":{"a":1.1,"b":12345678901234567890,"c":"\\u0000","marked":true}');
  });

  it("buries a bad event with its cause and delivers its neighbours", async () => {
    const ids = await Promise.all(
      [-5, 1, 2].map(async (price, i) => (await api.send("POST", "/v1/pipelines/orders/events", { id: `n${i}`, price, quantity: 1 })).json.id),
    );
    const [dead, ...fine] = await Promise.all(ids.map(finished));
    expect(dead?.json).toMatchObject({ verdict: "dead", deadLetters: [{ step: "valid", code: "record.invalid" }] });
    expect(fine.map(({ json }) => json.verdict)).toEqual(["delivered", "delivered"]);
    const groups = await api.get("/v1/dead-letters:groups?pipeline=orders");
    expect(groups.json.groups[0]).toMatchObject({
      step: "valid",
      code: "record.invalid",
      count: 1,
      example: { payload: { id: "n0", price: -5, quantity: 1, total: -5 } },
    });
  });

  it("answers a waiting sender with the verdict", async () => {
    const sent = await api.send("POST", "/v1/pipelines/orders/events", { id: "w", price: 2, quantity: 2 }, { prefer: "wait=10" });
    expect(sent.status).toBe(200);
    expect(sent.json).toMatchObject({ state: "done", verdict: "delivered" });
  });

  it("answers one id for one idempotency key, and refuses another body under it", async () => {
    const send = (body: object) => api.send("POST", "/v1/pipelines/orders/events", body, { "idempotency-key": "k1" });
    const body = { id: "i", price: 1, quantity: 1 };
    const answers = await Promise.all(Array.from({ length: 20 }, () => send(body)));
    expect(new Set(answers.map(({ json }) => json.id)).size).toBe(1);
    const other = await send({ ...body, price: 9 });
    expect([other.status, other.json.code]).toEqual([409, "capture.idempotency_conflict"]);
  });

  it("keeps tenants apart and checks scopes", async () => {
    expect((await api.send("POST", "/v1/tenants", { name: "other" })).status).toBe(200);
    const made = await api.send("POST", "/v1/clients", { name: "them", tenant: "other", scopes: ["events:read", "events:write", "pipelines:read"] });
    expect(made.status).toBe(200);
    const them = await api.as(made.json, "events:read events:write pipelines:read");
    const mine = await api.send("POST", "/v1/pipelines/orders/events", { id: "t", price: 1, quantity: 1 });
    expect((await them.get(`/v1/events/${mine.json.id}`)).json.code).toBe("event.not_found");
    expect((await them.send("POST", "/v1/pipelines/orders/events", { id: 1, price: 1, quantity: 1 })).status).toBe(404);
    expect((await them.get("/v1/pipelines")).json.pipelines).toEqual([]);
    const refused = await them.send("PUT", "/v1/pipelines/mine", { name: "mine" });
    expect([refused.status, refused.json.code]).toEqual([403, "auth.scope_missing"]);
    expect((await fetch(`${world.url}/v1/pipelines`)).status).toBe(401);
  });

  it("rolls back to the version before in one call", async () => {
    const spec = (expression: string) => ({ name: "versions", steps: [{ id: "a", use: "record.map", with: { set: { v: expression } } }] });
    await api.send("PUT", "/v1/pipelines/versions", spec("1"));
    const second = await api.send("PUT", "/v1/pipelines/versions", spec("2"));
    expect(second.json).toMatchObject({
      version: 2,
      created: true,
      diff: [{ op: "replace", pointer: "/steps/0/with/set/v", before: "1", after: "2" }],
    });
    expect((await api.send("PUT", "/v1/pipelines/versions", spec("2"))).json).toMatchObject({ version: 2, created: false, diff: [] });
    await api.send("POST", "/v1/pipelines/versions:activate", { version: 1 });
    const sent = await api.send("POST", "/v1/pipelines/versions/events", {}, { prefer: "wait=10" });
    expect((await finished(sent.json.id)).json.version).toBe(1);
    expect((await api.get("/v1/pipelines/versions/outputs")).json.outputs[0].record).toEqual({ v: 1 });
  });
});
