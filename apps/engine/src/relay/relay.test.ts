import { openBroker } from "@onedata/broker";
import { findNatsServer, kubemqProgram, openKubemqDouble, openKubemqServer, openNatsServer } from "@onedata/broker/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { BrokerState } from "./broker-state.ts";
import { type BrokerWorld, openBrokerWorld, type RunningEngine } from "./broker-world.ts";
import { openEngineBroker } from "./open-engine-broker.ts";
import { RELAY_DEFAULTS, Relay } from "./relay.ts";
import { channelOf } from "./seats.ts";

let world: BrokerWorld;
beforeAll(async () => {
  world = await openBrokerWorld();
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
});
beforeEach(async () => {
  world.warnings.length = 0;
  await world.store.sql`truncate onedata.runs`;
});

async function until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  for (const deadline = performance.now() + timeoutMs; !(await holds()); ) {
    if (performance.now() > deadline)
      throw new Error(`still not ${what}; woken by ${JSON.stringify(await world.wokenBy())}; ${world.warnings.slice(-5).join("\n")}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
const empty = async (): Promise<boolean> => (await world.waiting()) === 0;
const isUp = (engine: RunningEngine) => until("up", () => engine.brokerState === "up");

/** One event at a time; the pause is longer than an engine looks again after a run, so that each finds an idle queue. */
async function trickle(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await world.capture(1);
    await until("done", empty);
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
}

type TestBroker = AsyncDisposable & { readonly url: string; kill(): Promise<void>; start(): Promise<void>; wipe(): Promise<void> };

async function openTestBroker(kind: string): Promise<TestBroker> {
  if (kind === "nats") return openNatsServer();
  if (kind === "kubemq") return openKubemqServer({ program: kubemqProgram() ?? "" });
  const double = await openKubemqDouble();
  return {
    url: double.url,
    kill: () => double.stop(),
    start: () => double.start({ keepData: true }),
    wipe: () => double.restart({ keepData: false }),
    [Symbol.asyncDispose]: () => double[Symbol.asyncDispose](),
  };
}

const skipped = new Map<string, string>();
if (findNatsServer(process.env["NATS_SERVER"]) === undefined) skipped.set("nats", "set NATS_SERVER, or apt-get install nats-server");
if (kubemqProgram() === undefined) skipped.set("kubemq", "set KUBEMQ_SERVER to the path of its program");
for (const [kind, cure] of skipped) console.warn(`skipped: the legs on ${kind}; ${cure}`);

describe.each(["kubemq double", "kubemq", "nats"])("an engine on %s", (kind) => {
  it.skipIf(skipped.has(kind))("claims when a message comes, on an idle queue nearly always", async () => {
    await using server = await openTestBroker(kind);
    await using engine = await world.startEngine(server.url);
    await isUp(engine);
    await trickle(30);
    const { broker = 0, ...others } = await world.wokenBy();
    // A poll each second may come first.
    expect(broker, JSON.stringify(others)).toBeGreaterThanOrEqual(24);
  });

  it.skipIf(skipped.has(kind))("goes on by polling when the broker dies, says so, and uses it again when it is back", async () => {
    await using server = await openTestBroker(kind);
    await using engine = await world.startEngine(server.url);
    await isUp(engine);
    await trickle(3);
    await server.kill();
    await until("down", () => engine.brokerState.startsWith("down: "));
    await world.store.sql`truncate onedata.runs`;
    await trickle(5);
    expect((await world.wokenBy())["broker"]).toBeUndefined();
    await until("reported", async () => {
      const [row] = await world.store.sql<
        { state: string | null }[]
      >`select broker_state as state from onedata.engines order by started_at desc limit 1`;
      return row?.state?.startsWith("down: ") === true;
    });
    await server.start();
    await isUp(engine);
    await world.store.sql`truncate onedata.runs`;
    // Its first answers may still be on the way back to who was cut off.
    await until("woken by it", async () => {
      await trickle(1);
      return ((await world.wokenBy())["broker"] ?? 0) >= 5;
    });
  });

  it.skipIf(skipped.has(kind))("publishes anew what a wiped broker has lost", async () => {
    await using server = await openTestBroker(kind);
    // No poll that would find the batch first.
    await using engine = await world.startEngine(server.url, { pollBesideBrokerMs: 60_000, pollMs: 60_000, relay: { watchMs: 50, graceMs: 300 } });
    await isUp(engine);
    await trickle(1);
    // Paused, so that the claims made while the broker is away do not find it.
    const setState = (state: string) => world.store.sql`update onedata.pipelines set state = ${state} where id = ${world.target.pipelineId}`;
    // The end of the run before may look first: then nothing is shown, and it is tried again. No poll is near, so `broker` proves that it was told anew.
    await until("found by the broker's message", async () => {
      const seen = world.warnings.length;
      await world.store.sql`truncate onedata.runs`;
      await setState("paused");
      await world.captureLost();
      await server.wipe();
      await until("seen", () => world.warnings.slice(seen).some((warning) => warning.includes("lost its store")));
      // Its first answers may still be on the way back to who was cut off: go on when it wakes claims of others again.
      await until("woken by it", async () => {
        await world.captureInOrder("k");
        await until("all but one done", async () => (await world.waiting()) === 1);
        return ((await world.wokenBy())["broker"] ?? 0) >= 3;
      });
      await world.store.sql`truncate onedata.runs`;
      await setState("running");
      await until("found", empty);
      return (await world.wokenBy())["broker"] === 1;
    });
  });

  it.skipIf(skipped.has(kind))("publishes a single lost message anew, once the broker is empty", async () => {
    await using server = await openTestBroker(kind);
    const relay = { watchMs: 20, pollMs: 20, lostAfter: { firstMs: 300, mostMs: 60_000 } };
    await using engine = await world.startEngine(server.url, { pollBesideBrokerMs: 60_000, relay });
    await isUp(engine);
    await trickle(1);
    await world.store.sql`truncate onedata.runs`;
    await world.captureLost();
    await until("found", empty);
    expect(await world.wokenBy()).toEqual({ broker: 1 });
  });

  it.skipIf(skipped.has(kind))("takes a message that it cannot read as a wake-up", async () => {
    await using server = await openTestBroker(kind);
    await using engine = await world.startEngine(server.url, { pollBesideBrokerMs: 60_000, relay: { pollMs: 60_000 } });
    await isUp(engine);
    await trickle(1);
    await world.store.sql`truncate onedata.runs`;
    await world.captureLost();
    await using stranger = await openBroker(server.url);
    await stranger?.publish(channelOf(world.installation), [new TextEncoder().encode("what?")]);
    await until("found", empty);
    expect(await world.wokenBy()).toEqual({ broker: 1 });
    expect(world.warnings.some((warning) => warning.includes("could not be read"))).toBe(true);
  });
});

describe("an engine on the kubemq double", () => {
  it("does every event once when messages are doubled and out of order", async () => {
    await using server = await openKubemqDouble();
    server.faults.add({ at: "SendQueueMessagesBatch", kind: "duplicate", times: 40 });
    await using engine = await world.startEngine(server.url);
    await using other = await world.startEngine(server.url);
    await Promise.all([isUp(engine), isUp(other)]);
    for (let i = 0; i < 40; i++) {
      if (i % 3 === 0) server.faults.add({ at: "SendQueueMessagesBatch", kind: "reorder" });
      await world.capture(5);
    }
    await until("empty", empty);
    const [row] = await world.store.sql<{ runs: number; repeated: number }[]>`
      select count(*)::int as runs, count(*) filter (where attempt > 1)::int as repeated from onedata.runs`;
    expect(row).toEqual({ runs: 40, repeated: 0 });
  });

  it("publishes anew what the broker lost without a restart: its messages are numbered anew", async () => {
    await using server = await openKubemqDouble();
    // Neither a poll nor the age of its mark brings the batch back.
    const never = 3_600_000;
    const relay = { watchMs: 20, graceMs: 100, lostAfter: { firstMs: never, mostMs: never } };
    await using engine = await world.startEngine(server.url, { pollBesideBrokerMs: never, pollMs: never, relay });
    await isUp(engine);
    const setState = (state: string) => world.store.sql`update onedata.pipelines set state = ${state} where id = ${world.target.pipelineId}`;
    // The end of the run before may look first: then nothing is shown, and it is tried again.
    await until("found by the broker's message", async () => {
      const seen = world.warnings.length;
      await setState("paused");
      await world.captureLost();
      await until("warned of", async () => {
        await world.captureInOrder("k");
        await until("all but one done", async () => (await world.waiting()) === 1);
        server.loseLast(1_000);
        return world.warnings.slice(seen).some((warning) => warning.includes("numbered anew"));
      });
      await world.store.sql`truncate onedata.runs`;
      await setState("running");
      await until("found", empty);
      return (await world.wokenBy())["broker"] === 1;
    });
    expect(world.warnings.filter((warning) => !warning.includes("numbered anew"))).toEqual([]);
  });

  it("gives each of two engines a channel of its own, and does every event once while one comes and goes", async () => {
    await using server = await openKubemqDouble();
    await using watcher = await openBroker(server.url);
    const channel = channelOf(world.installation);
    const carried = async (seat: string): Promise<number> => (await watcher?.depth(seat))?.lastSequence ?? 0;
    // Engines learn of each other with their leases.
    const options = { leaseMs: 2_000, relay: { pollMs: 20 } };
    await using engine = await world.startEngine(server.url, options);
    {
      await using other = await world.startEngine(server.url, options);
      await Promise.all([isUp(engine), isUp(other)]);
      await until("both seats used", async () => {
        await world.capture(5);
        return (await carried(channel)) > 0 && (await carried(`${channel}.1`)) > 0;
      });
      await until("empty", empty);
    }
    // Alone again: it finds what is captured, wherever the pointers go meanwhile.
    await trickle(5);
    await until("back on the shared seat", async () => {
      const before = await carried(`${channel}.1`);
      await trickle(3);
      return (await carried(`${channel}.1`)) === before;
    });
    const [row] = await world.store.sql<{ repeated: number }[]>`select count(*) filter (where attempt > 1)::int as repeated from onedata.runs`;
    expect(row).toEqual({ repeated: 0 });
    expect((await world.wokenBy())["broker"]).toBeGreaterThan(0);
  });

  it("stays in one state, and quiet, while the broker takes nothing but answers pings", async () => {
    await using server = await openKubemqDouble();
    await using engine = await world.startEngine(server.url);
    await isUp(engine);
    const before = world.warnings.length;
    server.faults.add({ at: "SendQueueMessagesBatch", kind: "dropBefore", times: 1_000 });
    for (let i = 0; i < 20; i++) {
      await trickle(1);
      // The first message finds out.
      if (i > 0) await until("down", () => engine.brokerState.startsWith("down: "));
    }
    expect(world.warnings.length - before, world.warnings.join("\n")).toBe(1);
    server.faults.clear();
    await isUp(engine);
  });

  it("adds no messages where enough wait for nobody", async () => {
    await using server = await openKubemqDouble();
    await using own = await openEngineBroker(server.url, world.store.url);
    if (own === undefined) throw new Error("no broker");
    const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };
    const state = new BrokerState({ broker: server.url, log: quiet, changed: () => undefined });
    const channel = channelOf(world.installation);
    const ports = {
      ...own,
      seats: () => ({ channels: [channel], own: channel }),
      state,
      log: quiet,
      monotonicMs: () => performance.now(),
      random: Math.random,
      slots: () => 100,
      isBusy: () => false,
    };
    const relay = new Relay(ports, { ...RELAY_DEFAULTS, targetEvents: 500, watchMs: 10, pollMs: 10, maxWaiting: 4 });
    const stop = new AbortController();
    const running = relay.run(stop.signal);
    const count = async (queueState: string): Promise<number> =>
      (await world.store.sql<{ n: number }[]>`select count(*)::int as n from onedata.queue where state = ${queueState}`)[0]?.n ?? 0;
    const waits = async (): Promise<number> => (await own.broker.depth(channel)).waiting;
    // Nobody receives: each event is published by itself, until enough are there and known to be.
    let captured = 0;
    await until("enough", async () => {
      await world.capture(1);
      captured += 1;
      await until("published, or held back", async () => (await count("published")) === captured || (await waits()) > 4);
      return (await count("ready")) > 3;
    });
    expect(await waits()).toBeLessThan(captured);
    stop.abort();
    await running;
    await world.store.sql`truncate onedata.queue`;
  });
});
