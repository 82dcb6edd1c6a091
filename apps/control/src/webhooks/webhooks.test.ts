/** Webhooks over real sockets and a real database: at least once, signed, one dead receiver delays nobody, and tenants hear of their own only. */
import { randomUUID } from "node:crypto";
import { type TenantId, toPipelineId } from "@onedata/core";
import { createHttpClient } from "@onedata/sinks";
import { claimDeliveries, notify } from "@onedata/store";
import { createSecretBox } from "@onedata/store/control";
import { createTestPipeline } from "@onedata/store/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { asUser, type ControlWorld, openControlWorld, TEST_SECRET_KEY } from "../control-world.ts";
import { openReceiver } from "./testing.ts";
import { createWebhooks, type Webhooks } from "./webhooks.ts";

let world: ControlWorld;
beforeAll(async () => {
  world = await openControlWorld();
});
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(async () => {
  await world.store.sql`delete from onedata.subscriptions`;
});

const client = createHttpClient({ allowedAddresses: ["127.0.0.1"], followRedirects: false, maxSocketsPerHost: 40 });
afterAll(() => client.close());
const signal = new AbortController().signal;
const PATIENTLY = { timeout: 30_000, interval: 50 };
const open = (timeoutMs = 5_000): Webhooks =>
  createWebhooks({
    sql: world.store.sql,
    box: createSecretBox(TEST_SECRET_KEY),
    client,
    log: { warn: () => undefined },
    now: Date.now,
    random: () => 0.5,
    timeoutMs,
  });

const tell = (tenantId: TenantId, pipeline: { pipelineId: bigint; name: string }, episode: string = randomUUID()) =>
  notify(world.store.sql, {
    tenantId,
    pipelineId: toPipelineId(pipeline.pipelineId),
    subject: `pipelines/${pipeline.name}`,
    episode,
    topic: "pipeline.paused",
    detail: { reason: "paused itself: 214 of the last 1,000 events of version 7 died", version: 7, class: "live", dead: 214, events: 1000 },
  });
const pipelineOf = (tenantId: TenantId) => createTestPipeline(world.store.sql, { tenantId });
const subscribe = async (url: string, request: { topics?: string[]; pipelines?: string[] } = {}, user = world.ana) =>
  world.subscriptions.createSubscription({ url, ...request }, user);
const get = async (id: string) => world.subscriptions.getSubscription({ subscription: id }, world.ana);
const deliveries = async (id: string) => (await world.subscriptions.listDeliveries({ subscription: id }, world.ana)).deliveries;
/** As if the time of the next try, or the end of a lease, had come. */
const comeDue = () => world.store.sql`update onedata.deliveries set next_try_at = clock_timestamp() where state = 'waiting'`;
const round = async (webhooks: Webhooks): Promise<number> => {
  const started = await webhooks.start(signal);
  await webhooks.settled();
  return started;
};
const drain = async (webhooks: Webhooks): Promise<void> => {
  while ((await round(webhooks)) > 0);
};

describe("a message", () => {
  it("is signed as Standard Webhooks says, tells what happened in a sentence, and is sent once per pause", async () => {
    await using receiver = await openReceiver();
    const { tenantId } = world.ana.identity;
    const pipeline = await pipelineOf(tenantId);
    const { subscription, secret } = await subscribe(receiver.url);
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(await tell(tenantId, pipeline, "the same pause")).toBe(true);
    expect(await tell(tenantId, pipeline, "the same pause")).toBe(false);
    await drain(open());
    expect(receiver.received).toHaveLength(1);
    expect(receiver.received[0]?.verify(secret)).toEqual({
      type: "pipeline.paused",
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
      text: expect.stringContaining(`${pipeline.name} paused itself: 214 of the last 1,000 events of version 7 died.`),
      data: {
        pipeline: pipeline.name,
        reason: "paused itself: 214 of the last 1,000 events of version 7 died",
        version: 7,
        class: "live",
        dead: 214,
        events: 1000,
        sentence: expect.stringContaining("paused itself"),
      },
    });
    expect(() => receiver.received[0]?.verify("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")).toThrow();
    expect(receiver.received[0]?.headers["webhook-id"]).toMatch(/^msg_/);
    expect(await get(subscription?.id ?? "")).toMatchObject({ problem: "", deliveredAt: expect.any(Date) });
    expect(await deliveries(subscription?.id ?? "")).toMatchObject([{ topic: "pipeline.paused", state: "delivered", tries: 1 }]);
  });

  it("goes to whom it concerns: topics, pipelines, enabled, and never to another tenant", async () => {
    await using receiver = await openReceiver();
    const { tenantId } = world.ana.identity;
    const [watched, other] = [await pipelineOf(tenantId), await pipelineOf(tenantId)];
    const all = await subscribe(receiver.url);
    const ofPipeline = await subscribe(receiver.url, { pipelines: [watched.name] });
    const ofTopic = await subscribe(receiver.url, { topics: ["dead_letters.grew"] });
    const off = await subscribe(receiver.url);
    await world.subscriptions.updateSubscription({ subscription: off.subscription?.id ?? "", url: receiver.url, enabled: false }, world.ana);
    const foreign = await subscribe(receiver.url, {}, world.bo);
    await tell(tenantId, watched);
    await tell(tenantId, other);
    await drain(open());
    const count = async (made: typeof all, user = world.ana) =>
      (await world.subscriptions.listDeliveries({ subscription: made.subscription?.id ?? "" }, user)).deliveries.length;
    expect([await count(all), await count(ofPipeline), await count(ofTopic), await count(off), await count(foreign, world.bo)]).toEqual([
      2, 1, 0, 0, 0,
    ]);
    expect(receiver.received).toHaveLength(3);
    expect(receiver.received.filter((one) => tryVerify(one, foreign.secret))).toEqual([]);
  });

  const tryVerify = (one: { verify(secret: string): unknown }, secret: string): boolean => {
    try {
      one.verify(secret);
      return true;
    } catch {
      return false;
    }
  };

  it("is signed with both secrets for a day after a rotation", async () => {
    await using receiver = await openReceiver();
    const { tenantId } = world.ana.identity;
    const pipeline = await pipelineOf(tenantId);
    const first = await subscribe(receiver.url);
    const id = first.subscription?.id ?? "";
    const second = await world.subscriptions.rotateSubscriptionSecret({ subscription: id }, world.ana);
    await tell(tenantId, pipeline);
    await drain(open());
    const both = receiver.received[0];
    expect(both?.headers["webhook-signature"]?.split(" ")).toHaveLength(2);
    expect([first.secret, second.secret].map((secret) => both !== undefined && tryVerify(both, secret))).toEqual([true, true]);
    await world.store.sql`update onedata.subscriptions set old_secret_until = clock_timestamp()`;
    await tell(tenantId, pipeline);
    await drain(open());
    const one = receiver.received[1];
    expect([first.secret, second.secret].map((secret) => one !== undefined && tryVerify(one, secret))).toEqual([false, true]);
    const [row] = await world.store.sql<
      { text: string }[]
    >`select string_agg(s::text, '') || coalesce((select string_agg(a::text, '') from onedata.audit a), '') as text from onedata.subscriptions s`;
    for (const { secret } of [first, second]) {
      expect(row?.text).not.toContain(secret.slice(6));
      expect(row?.text).not.toContain(Buffer.from(secret).toString("hex"));
    }
  });
});

describe("a receiver that fails", () => {
  it("gets the same message, under the same id, on the schedule, until it is taken or given up", async () => {
    await using receiver = await openReceiver();
    const { tenantId } = world.ana.identity;
    receiver.answer = (response) => void response.writeHead(500).end("out of\norder");
    const { subscription, secret } = await subscribe(receiver.url);
    const id = subscription?.id ?? "";
    await tell(tenantId, await pipelineOf(tenantId));
    const webhooks = open();
    const waits: number[] = [];
    for (let tries = 1; tries <= 9; tries++) {
      await comeDue();
      expect(await round(webhooks)).toBe(1);
      const [delivery] = await deliveries(id);
      expect(delivery).toMatchObject({
        tries,
        state: tries < 9 ? "waiting" : "failed",
        result: expect.stringMatching(/^500 after \d+ ms: out of order$/),
      });
      if (delivery?.nextTryAt !== undefined) waits.push(Math.round((delivery.nextTryAt.getTime() - Date.now()) / 1000));
    }
    expect(waits.map((seconds) => Math.round(seconds / 5) * 5)).toEqual([5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000]);
    await comeDue();
    expect(await round(webhooks)).toBe(0);
    expect((await get(id)).problem).toMatch(/^the last 9 tries failed, the last one: 500 after/);
    expect(new Set(receiver.received.map(({ headers }) => headers["webhook-id"])).size).toBe(1);
    expect(new Set(receiver.received.map(({ body }) => body)).size).toBe(1);
    for (const one of receiver.received) one.verify(secret);
    receiver.answer = (response) => void response.writeHead(200).end();
    await tell(tenantId, await pipelineOf(tenantId));
    await drain(webhooks);
    expect((await get(id)).problem).toBe("");
  });

  it("is not asked again after 410 Gone: the subscription is disabled and says why", async () => {
    await using receiver = await openReceiver();
    const { tenantId } = world.ana.identity;
    receiver.answer = (response) => void response.writeHead(410).end();
    const { subscription } = await subscribe(receiver.url);
    const id = subscription?.id ?? "";
    await tell(tenantId, await pipelineOf(tenantId));
    await tell(tenantId, await pipelineOf(tenantId));
    await drain(open());
    expect(receiver.received).toHaveLength(1);
    expect(await get(id)).toMatchObject({ enabled: false, problem: expect.stringContaining("410 Gone") });
    expect((await deliveries(id)).map(({ state }) => state)).toEqual(["failed", "failed"]);
    expect(await world.subscriptions.updateSubscription({ subscription: id, url: receiver.url }, world.ana)).toMatchObject({
      enabled: true,
      problem: "",
    });
  });

  it("is not followed to another address, and its endless answer is cut", async () => {
    await using elsewhere = await openReceiver();
    await using receiver = await openReceiver();
    const { subscription } = await subscribe(receiver.url);
    const id = subscription?.id ?? "";
    for (const status of [302, 307, 308]) {
      receiver.answer = (response) => void response.writeHead(status, { location: elsewhere.url }).end();
      expect(await world.subscriptions.testSubscription({ subscription: id }, world.ana)).toMatchObject({
        state: "failed",
        result: expect.stringContaining(`${status} after`),
      });
    }
    expect(elsewhere.received).toEqual([]);
    receiver.answer = (response) => {
      response.writeHead(200);
      const pour = (): void => {
        while (!response.destroyed && response.write("x".repeat(65_536)));
        if (!response.destroyed) response.once("drain", pour);
      };
      pour();
    };
    expect(await world.subscriptions.testSubscription({ subscription: id }, world.ana)).toMatchObject({
      topic: "test",
      state: "delivered",
      tries: 1,
    });
  });

  it("delays nobody else: ninety messages pass while forty receivers hang", async () => {
    await using hanging = await openReceiver();
    await using receiver = await openReceiver();
    const { tenantId } = world.ana.identity;
    hanging.answer = () => undefined;
    const pipeline = await pipelineOf(tenantId);
    for (let i = 0; i < 40; i++) await subscribe(hanging.url);
    await tell(tenantId, pipeline);
    const webhooks = open(3_000);
    // Their first tries time out: from now on they are known to be in trouble.
    while ((await round(webhooks)) > 0);
    const tried = hanging.received.length;
    const slow = open(60_000);
    const stop = new AbortController();
    const running = slow.run(stop.signal);
    try {
      await comeDue();
      await vi.waitFor(() => expect(hanging.received.length).toBe(tried + 8), PATIENTLY);
      for (let i = 0; i < 3; i++) await subscribe(receiver.url);
      for (let i = 0; i < 30; i++) await tell(tenantId, pipeline);
      await vi.waitFor(() => expect(receiver.received).toHaveLength(90), PATIENTLY);
    } finally {
      stop.abort();
      await running;
    }
    // What hung was given back, for another process.
    const [left] = await world.store.sql<{ claims: number }[]>`select count(claim)::int as claims from onedata.deliveries where state = 'waiting'`;
    expect(left?.claims).toBe(0);
  });
});

describe("several control processes", () => {
  it("lose nothing when one dies between claim and send, and send each message once when none does", async () => {
    await using receiver = await openReceiver();
    const { tenantId } = world.ana.identity;
    const pipeline = await pipelineOf(tenantId);
    for (let i = 0; i < 5; i++) await subscribe(receiver.url);
    for (let i = 0; i < 12; i++) await tell(tenantId, pipeline);
    const dead = await claimDeliveries(world.store.sql, { claim: randomUUID(), leaseMs: 60_000, limit: 10, troubled: false, busy: [] });
    expect(dead).toHaveLength(5);
    const stop = new AbortController();
    const running = [open(), open()].map((webhooks) => webhooks.run(stop.signal));
    try {
      await vi.waitFor(() => expect(receiver.received.length).toBe(55), PATIENTLY);
      await comeDue();
      await vi.waitFor(() => expect(receiver.received.length).toBe(60), PATIENTLY);
    } finally {
      stop.abort();
      await Promise.all(running);
    }
    expect(new Set(receiver.received.map(({ headers }) => headers["webhook-id"])).size).toBe(12);
    const [rows] = await world.store.sql<
      { delivered: number }[]
    >`select count(*)::int as delivered from onedata.deliveries where state = 'delivered' and tries = 1`;
    expect(rows?.delivered).toBe(60);
  });
});

describe("an address", () => {
  it("is https and public, unless the operator has named it", async () => {
    const refused = async (url: string): Promise<unknown> =>
      subscribe(url).then(
        () => "taken",
        (error: unknown) => error,
      );
    expect(await refused("http://93.184.216.34/hook")).toMatchObject({
      violations: [{ pointer: "/url", detail: expect.stringContaining("https://") }],
    });
    expect(await refused("https://10.0.0.1/hook")).toMatchObject({ code: "network.address_refused" });
    expect(await refused("https://169.254.169.254/latest")).toMatchObject({ code: "network.address_refused" });
    expect(await refused("https://[::1]/")).toMatchObject({ code: "network.address_refused" });
    expect(await refused("https://ana:pw@93.184.216.34/")).toMatchObject({ violations: [{ detail: expect.stringContaining("signed") }] });
    expect(await refused("ftp://93.184.216.34/")).toMatchObject({ code: "request.invalid" });
  });

  it("is checked when it is connected to, not only when it is subscribed", async () => {
    await using receiver = await openReceiver();
    const { subscription } = await subscribe(receiver.url);
    await world.store.sql`update onedata.subscriptions set url = ${`http://127.0.0.2:${receiver.host.split(":")[1]}/`}`;
    expect(await world.subscriptions.testSubscription({ subscription: subscription?.id ?? "" }, world.ana)).toMatchObject({
      state: "failed",
      result: expect.stringContaining("may not be reached"),
    });
    expect(receiver.received).toEqual([]);
  });

  it("comes with topics and pipelines that exist, at most fifty times a tenant", async () => {
    await using receiver = await openReceiver();
    await expect(subscribe(receiver.url, { topics: ["pipeline.pasued"] })).rejects.toMatchObject({ violations: [{ pointer: "/topics/0" }] });
    await expect(subscribe(receiver.url, { pipelines: ["none"] })).rejects.toMatchObject({ code: "pipeline.not_found" });
    for (let i = 0; i < 50; i++) await subscribe(receiver.url);
    await expect(subscribe(receiver.url)).rejects.toMatchObject({ code: "capture.quota_exceeded" });
    await expect(subscribe(receiver.url, {}, asUser(world.bo.identity.tenantId, "bo"))).resolves.toBeDefined();
  });
});
