/** What a tenant meets at its limits, and at the end of a pipeline, over REST on both profiles; its neighbour meets nothing of it. */
import { request as httpRequest } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Answer, Api } from "../world/api.ts";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type Profile, type World } from "../world/world.ts";

const SCOPES = "events:write events:read pipelines:read pipelines:write";

describe.each<Profile>(["solo", "cluster"])("quotas (%s)", (profile) => {
  let world: World;
  let limited: Api;
  beforeAll(async () => {
    world = await openWorld(profile);
    await world.api.send("POST", "/v1/tenants", { name: "limited" });
    const made = await world.api.send("POST", "/v1/clients", { name: "they", tenant: "limited", scopes: SCOPES.split(" ") });
    limited = await world.api.as(made.json, SCOPES);
    expect((await limited.send("PUT", "/v1/pipelines/things", { name: "things" })).status).toBe(200);
  });
  afterAll(() => world?.[Symbol.asyncDispose]());

  const limit = async (limits: { eventsPerSecond?: number; backlogBytes?: number; pipelines?: number }): Promise<void> => {
    const answer = await world.api.send("PUT", "/v1/tenants/limited/limits", limits);
    expect(answer.status, answer.text).toBe(200);
  };
  const post = (i: number): Promise<Answer> => limited.send("POST", "/v1/pipelines/things/events", { i });

  it("refuses what is over the rate with 429 and when to come again, and lets through what is within it", async () => {
    await post(0);
    await limit({ eventsPerSecond: 20 });
    const refused = await waitFor(
      "refused",
      async () => (await Promise.all(Array.from({ length: 40 }, (_, i) => post(i)))).filter(({ status }) => status !== 202),
      (answers) => answers.length > 0,
    );
    for (const { status, headers, json } of refused) {
      expect([status, headers.get("retry-after"), json.code]).toEqual([429, "1", "capture.quota_exceeded"]);
      expect(json.detail).toContain("20 events per second");
    }
    const neighbour = await Promise.all(
      Array.from({ length: 40 }, (_, i) => world.api.send("POST", "/v1/pipelines/orders/events", { id: 1000 + i, price: 1, quantity: 1 })),
    );
    expect(neighbour.every(({ status }) => status === 202)).toBe(true);
    // Five seconds of pressure: the rate, the one second that may be overshot, and the one that had begun. How many of them a busy machine can offer is open.
    const startedAt = performance.now();
    let accepted = 0;
    while (performance.now() - startedAt < 5_000)
      accepted += (await Promise.all(Array.from({ length: 20 }, (_, i) => post(i)))).filter(({ status }) => status === 202).length;
    const seconds = (performance.now() - startedAt) / 1000;
    expect(accepted).toBeLessThanOrEqual(20 * (seconds + 2));
    expect(accepted).toBeGreaterThanOrEqual(20);
    await limit({});
  });

  it("refuses single events over the backlog, holds an import up instead, and goes on when it is worked off", async () => {
    await limited.send("POST", "/v1/pipelines/things:pause", { reason: "to fill up" });
    await limit({ backlogBytes: 20_000 });
    const text = "x".repeat(1_000);
    const refused = await waitFor(
      "refused",
      () => limited.send("POST", "/v1/pipelines/things/events", { text }),
      // The old rate may hold for a second.
      ({ headers }) => headers.get("retry-after") === "5",
    );
    expect([refused.status, refused.json.code]).toEqual([429, "capture.quota_exceeded"]);

    const upload = httpRequest(`${world.url}/v1/pipelines/things/imports`, {
      method: "POST",
      headers: { authorization: `Bearer ${limited.token}`, "content-type": "application/x-ndjson", "idempotency-key": "held-up" },
    });
    const answered = new Promise<number | undefined>((resolve, reject) => {
      upload.on("error", reject);
      upload.on("response", (response) => {
        response.resume();
        resolve(response.statusCode);
      });
    });
    upload.end(`${Array.from({ length: 200 }, (_, i) => JSON.stringify({ i, text })).join("\n")}\n`);
    const held = await waitFor(
      "held up",
      async () => (await limited.get("/v1/imports")).json.imports[0],
      (found) => found?.waitingFor?.includes("quota"),
    );
    expect(held).toMatchObject({ pipeline: "things", state: "receiving", accepted: 0 });
    await limited.send("POST", "/v1/pipelines/things:resume", {});
    expect(await answered).toBe(202);
    await waitFor(
      "done",
      async () => (await limited.get(`/v1/imports/${held.id}`)).json,
      (found) => found.state === "done" && found.delivered === 200,
    );
    await limit({});
  });

  it("refuses one pipeline more than is allowed", async () => {
    await limit({ pipelines: 1 });
    const refused = await limited.send("PUT", "/v1/pipelines/more", { name: "more" });
    expect([refused.status, refused.json.code]).toEqual([429, "capture.quota_exceeded"]);
    await limit({});
    expect((await limited.send("PUT", "/v1/pipelines/more", { name: "more" })).status).toBe(200);
  });

  it("takes nothing more for a pipeline that is deleted, and delivers what it had taken", async () => {
    await world.warehouse.unsafe("create table farewell (id int primary key); alter table farewell owner to warehouse");
    const spec = {
      name: "farewell",
      sinks: [{ use: "postgres.upsert", with: { connection: "warehouse", table: "farewell", key: ["id"], columns: { id: "id" } } }],
    };
    const applied = await world.api.send("PUT", "/v1/pipelines/farewell", spec);
    expect(applied.status, applied.text).toBe(200);
    await world.api.send("POST", "/v1/pipelines/farewell:pause", {});
    const lines = Array.from({ length: 500 }, (_, id) => JSON.stringify({ id })).join("\n");
    expect((await world.api.send("POST", "/v1/pipelines/farewell/imports", lines, { "content-type": "application/x-ndjson" })).status).toBe(202);
    const deleted = await world.api.send("DELETE", "/v1/pipelines/farewell");
    expect(deleted.status, deleted.text).toBe(200);
    const late = await waitFor(
      "refused",
      () => world.api.send("POST", "/v1/pipelines/farewell/events", { id: 10_000 }),
      ({ status }) => status !== 202,
    );
    expect([late.status, late.json.code]).toEqual([404, expect.stringMatching(/^pipeline\.(deleting|not_found)$/)]);
    const lateImport = await world.api.send("POST", "/v1/pipelines/farewell/imports", "{}\n", { "content-type": "application/x-ndjson" });
    expect(lateImport.status).toBe(404);
    await waitFor(
      "drained",
      async () => (await world.warehouse<{ n: number }[]>`select count(*)::int as n from farewell where id < 500`)[0]?.n,
      (n) => n === 500,
      40_000,
    );
    await waitFor(
      "gone",
      () => world.api.get("/v1/pipelines/farewell"),
      ({ status }) => status === 404,
      40_000,
    );
  });
});
