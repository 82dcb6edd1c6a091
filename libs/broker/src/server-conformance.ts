/** What every broker must do when its server is away, frozen, restarted or wiped. */
import { expect, it } from "vitest";
import {
  type BrokerHarness,
  bodyOf,
  drain,
  epochOf,
  healthBecomes,
  hold,
  NEVER,
  newChannel,
  open,
  range,
  unavailable,
} from "./broker-conformance.ts";

export type ServerHarness = BrokerHarness & {
  stop(): Promise<void>;
  start(): Promise<void>;
  freeze(): void;
  thaw(): void;
  /** Dies and comes back, with its data unless `startsEmpty`. */
  restart(): Promise<void>;
  readonly startsEmpty?: boolean;
  /** Dies and comes back with nothing. */
  wipe(): Promise<void>;
};

export function itSurvivesItsServer(openHarness: () => Promise<ServerHarness>): void {
  it("opens without a server and finds it when it comes", async () => {
    await using harness = await openHarness();
    await harness.stop();
    await using broker = await open(harness.url);
    const channel = newChannel();
    expect(await broker.health()).toMatchObject({ ok: false });
    expect(await broker.publish(channel, [bodyOf(1), bodyOf(2)])).toMatchObject([
      { ok: false, retryable: true },
      { ok: false, retryable: true },
    ]);
    await expect(broker.receive(channel, { max: 1, waitMs: 100, signal: NEVER })).rejects.toMatchObject(unavailable);
    await expect(broker.depth(channel)).rejects.toMatchObject(unavailable);
    await harness.start();
    await healthBecomes(broker, true);
    expect(await broker.publish(channel, [bodyOf(3)])).toEqual([{ ok: true }]);
    expect(await drain(broker, channel, 1)).toEqual(["message 3"]);
  });

  it("does not turn a loop around a dead server into a hot one", async () => {
    await using harness = await openHarness();
    await using broker = await open(harness.url);
    await harness.stop();
    const endMs = performance.now() + 2_000;
    let calls = 0;
    for (; performance.now() < endMs; calls += 1) await broker.receive("idle", { max: 1, waitMs: 100, signal: NEVER }).catch(() => undefined);
    expect(calls).toBeGreaterThan(1);
    expect(calls).toBeLessThan(40);
  });

  it("ends every call while the server is frozen, and goes on when it thaws", async () => {
    await using harness = await openHarness();
    await using broker = await open(harness.url);
    const channel = newChannel();
    await broker.publish(channel, [bodyOf(1)]);
    const held = await broker.receive(channel, { max: 1, waitMs: 2_000, signal: NEVER });
    const epoch = epochOf(await broker.health());
    harness.freeze();
    // All of these end by themselves.
    const [health, results, received, depth, settled] = await Promise.allSettled([
      broker.health(),
      broker.publish(channel, [bodyOf(2)], { timeoutMs: 500 }),
      broker.receive(channel, { max: 1, waitMs: 200, signal: NEVER }),
      broker.depth(channel),
      held.settle("ack"),
    ]);
    expect(health).toMatchObject({ status: "fulfilled", value: { ok: false } });
    expect(results).toMatchObject({ status: "fulfilled", value: [{ ok: false, retryable: true }] });
    expect(received).toMatchObject({ status: "rejected", reason: unavailable });
    expect(depth).toMatchObject({ status: "rejected", reason: unavailable });
    expect(settled).toEqual({ status: "fulfilled", value: false });
    harness.thaw();
    expect(epochOf(await healthBecomes(broker, true))).toBe(epoch);
    expect(await broker.publish(channel, [bodyOf(3)])).toEqual([{ ok: true }]);
    expect(await drain(broker, channel, 3, 2_000)).toContain("message 3");
  });

  it("changes the epoch with a restart, keeps what was stored, and takes back what was open", async () => {
    await using harness = await openHarness();
    await using broker = await open(harness.url);
    const channel = newChannel();
    await broker.publish(channel, range(4).map(bodyOf));
    const epoch = epochOf(await broker.health());
    const held = await hold(broker, channel, 2);
    await harness.restart();
    expect(await held.settle("ack")).toBe(false);
    expect(epochOf(await healthBecomes(broker, true))).not.toBe(epoch);
    if (harness.startsEmpty === true) {
      expect(await broker.publish(channel, range(4).map(bodyOf))).toEqual(range(4).map(() => ({ ok: true })));
    }
    expect(await drain(broker, channel, 4, 20_000)).toHaveLength(4);
  }, 60_000);

  it("changes the epoch when the store is lost, and works on the empty one", async () => {
    await using harness = await openHarness();
    await using broker = await open(harness.url);
    const channel = newChannel();
    await broker.publish(channel, range(4).map(bodyOf));
    const epoch = epochOf(await broker.health());
    const before = await broker.depth(channel);
    await harness.wipe();
    expect(epochOf(await healthBecomes(broker, true))).not.toBe(epoch);
    expect((await broker.depth(channel)).lastSequence).toBeLessThan(before.lastSequence);
    expect(await broker.depth(channel)).toMatchObject({ waiting: 0 });
    expect(await broker.publish(channel, [bodyOf(9)])).toEqual([{ ok: true }]);
    expect(await drain(broker, channel, 1)).toEqual(["message 9"]);
  });

  it("lets a loss be counted: what was published and not acknowledged is what waits, or the epoch is another", async () => {
    await using harness = await openHarness();
    await using broker = await open(harness.url);
    const channel = newChannel();
    const before = epochOf(await broker.health());
    await broker.publish(channel, range(10).map(bodyOf));
    const delivery = await hold(broker, channel, 4);
    expect(await delivery.settle("ack")).toBe(true);
    expect(await broker.depth(channel)).toMatchObject({ waiting: 6 });
    await harness.wipe();
    await healthBecomes(broker, true);
    const lost = 6 - (await broker.depth(channel)).waiting;
    expect(lost).toBeGreaterThan(0);
    expect(epochOf(await broker.health())).not.toBe(before);
  });
}
