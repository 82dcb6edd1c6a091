/** What goes with time and what stays, and a tenant that goes altogether; on a server that is started again, since old days go at its start. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { callCli } from "@onedata/cli/testing";
import { ageEvent } from "@onedata/store/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, removeHome, type World } from "../world/world.ts";

describe("retention", () => {
  const home = mkdtempSync(join(tmpdir(), "onedata-retention-"));
  let world: World;
  beforeAll(async () => {
    world = await openWorld("solo", { home });
  });
  afterAll(async () => {
    await world?.[Symbol.asyncDispose]();
    removeHome(home);
  });

  const cli = (...args: string[]) => callCli(args, { env: { ONEDATA_HOME: home } });
  const send = async (pipeline: string, payload: object): Promise<string> =>
    (await world.api.send("POST", `/v1/pipelines/${pipeline}/events`, payload)).json.id;
  const eventIs = (id: string, state: string) =>
    waitFor(
      state,
      () => world.api.get(`/v1/events/${id}`),
      ({ json }) => json?.state === state,
    );
  const age = (id: string, days: number): Promise<string> => ageEvent(world.platform, id, days);

  it("keeps a paused backlog of nine days, drops the days of others, and delivers the backlog when it is resumed", async () => {
    for (const name of ["slow", "quick"]) expect((await world.api.send("PUT", `/v1/pipelines/${name}`, { name })).status).toBe(200);
    await world.api.send("POST", "/v1/pipelines/slow:pause", { reason: "holidays" });
    const waiting = await send("slow", { waits: true });
    const done = await send("quick", { done: 1 });
    const young = await send("quick", { done: 2 });
    await eventIs(done, "done");
    await eventIs(young, "done");
    const [oldWaiting, oldDone] = [await age(waiting, 9), await age(done, 9)];
    expect((await world.api.get(`/v1/events/${oldDone}`)).json).toMatchObject({ state: "done", verdict: "delivered" });
    expect((await cli("usage")).stdout).toMatch(/waiting +1 event, 14 B\n[^]*DAY +EVENTS +BYTES\n\S+ +1 .*\n\S+ +2 /);

    await world.stop();
    world = await openWorld("solo", { home });
    await waitFor(
      "gone",
      () => world.api.get(`/v1/events/${oldDone}`),
      ({ status }) => status === 404,
    );
    expect((await world.api.get(`/v1/events/${young}`)).json.state).toBe("done");
    // It moves meanwhile, which is said; it is never taken for gone.
    const held = await waitFor(
      "moved",
      () => world.api.get(`/v1/events/${oldWaiting}`),
      ({ status, json }) => json.code !== "store.busy" || status !== 503,
    );
    expect(held.json).toMatchObject({ state: "waiting", payload: { waits: true }, waitingFor: expect.stringContaining("holidays") });
    await world.api.send("POST", "/v1/pipelines/slow:resume", {});
    await eventIs(oldWaiting, "done");
    expect((await world.api.get("/v1/pipelines/slow/outputs")).json.outputs).toMatchObject([{ event: oldWaiting, record: { waits: true } }]);
  }, 180_000);

  it("lets a tenant keep less, up to the operator's maximum", async () => {
    expect((await cli("tenant", "retention", "--events", "2")).stdout).toMatch(/events +kept 2 days \(at most 7\)\ndead letters +kept 30 days/);
    const refused = await cli("tenant", "retention", "--events", "8");
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("7 days at most") });
    expect((await cli("tenant", "retention", "--events", "0")).stdout).toContain("kept 7 days");
  });

  it("erases a tenant: its tokens stop at once, and nothing of it is left", async () => {
    expect((await world.api.send("POST", "/v1/tenants", { name: "acme" })).status).toBe(200);
    const created = await world.api.send("POST", "/v1/clients", {
      name: "shop",
      tenant: "acme",
      scopes: ["events:write", "events:read", "pipelines:write", "pipelines:read", "connections:write"],
    });
    const acme = await world.api.as(created.json, "events:write events:read pipelines:write pipelines:read connections:write");
    await acme.send("PUT", "/v1/pipelines/orders", { name: "orders" });
    await acme.send("PUT", "/v1/connections/db", { kind: "http", config: {}, secrets: { token: "t0ken" } });
    const sent = await acme.send("POST", "/v1/pipelines/orders/events", { card: "4711" }, { prefer: "wait=10", "idempotency-key": "k" });
    expect(sent).toMatchObject({ status: 200, json: { verdict: "delivered" } });

    expect(await cli("tenant", "erase", "acme", "--confirm", "acmee")).toMatchObject({ code: 1 });
    expect((await cli("tenant", "erase", "acme", "--confirm", "acme")).stdout).toContain("is being erased");
    await waitFor(
      "refused",
      () => acme.get(`/v1/events/${sent.json.id}`),
      ({ status }) => status === 401,
      5_000,
    );
    await waitFor(
      "erased",
      () => cli("tenant", "erase", "acme", "--confirm", "acme"),
      ({ stdout }) => stdout.includes("is erased"),
      60_000,
    );
    for (const table of ["events", "outputs", "connections", "idempotency_keys", "pipelines", "runs"]) {
      const [row] = await world.platform.unsafe<{ found: boolean }[]>(
        `select coalesce(bool_or(t::text like '%4711%' or t::text like '%t0ken%'), false) as found from onedata.${table} t`,
      );
      expect({ table, found: row?.found }).toEqual({ table, found: false });
    }
    expect(await world.platform`select 1 from onedata.tenants where name = 'acme'`).toHaveLength(0);
    expect((await world.api.get("/v1/audit")).json.entries[0]).toMatchObject({ action: "EraseTenantDone", subject: "tenants/acme" });
  });
});
