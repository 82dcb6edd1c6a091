/**
 * What every broker must do, whatever is behind it. Each adapter's `*.conformance.test.ts` runs this over the real client and a server with its own port, and
 * `itSurvivesItsServer` (beside this file) where the server may be stopped, frozen and wiped.
 * Allowed everywhere: duplicates and another order. Not allowed: a message that publish reported ok, that no settle took, gone while the epoch stayed.
 */
import { randomUUID } from "node:crypto";
import { describe, expect, it } from "vitest";
import { type Broker, type BrokerHealth, type BrokerMessage, type Delivery, MAX_BODY_BYTES } from "./broker.ts";
import { openBroker } from "./open-broker.ts";

/** A server, own or shared: every test uses channels of its own. */
export type BrokerHarness = AsyncDisposable & { readonly url: string };

export const NEVER: AbortSignal = new AbortController().signal;

/** Far longer than what is there takes on a busy machine. */
const WAIT_MS = 30_000;

export const newChannel = (): string => `test.${randomUUID().slice(0, 8)}.a`;
export const bodyOf = (n: number): Uint8Array => Buffer.from(`message ${n}`);
export const textOf = (body: Uint8Array): string => Buffer.from(body).toString();
export const range = (count: number): number[] => Array.from({ length: count }, (_, n) => n);

export async function open(url: string): Promise<Broker> {
  const broker = await openBroker(url, { clientName: `test-${randomUUID().slice(0, 8)}` });
  if (broker === undefined) throw new Error(`no broker behind ${url}`);
  return broker;
}

/** Receives until it holds `count` messages, in as many open deliveries as it takes. */
export async function hold(broker: Broker, channel: string, count: number): Promise<Delivery> {
  const deliveries: Delivery[] = [];
  const messages: BrokerMessage[] = [];
  const endMs = performance.now() + 15_000;
  while (messages.length < count && performance.now() < endMs) {
    const delivery = await broker.receive(channel, { max: count - messages.length, waitMs: 1_000, signal: NEVER });
    expect(delivery.messages.length).toBeLessThanOrEqual(count - messages.length);
    deliveries.push(delivery);
    messages.push(...delivery.messages);
  }
  expect(messages).toHaveLength(count);
  return {
    messages,
    settle: async (verdict) => {
      const held = deliveries.filter((delivery) => delivery.messages.length > 0);
      return (await Promise.all(held.map((delivery) => delivery.settle(verdict)))).every((confirmed) => confirmed);
    },
  };
}

/** Receives and acknowledges until `count` different bodies were seen or nothing more comes for `idleMs`. Outages are waited out. */
export async function drain(broker: Broker, channel: string, count: number, idleMs = 8_000): Promise<string[]> {
  const seen = new Set<string>();
  let lastMs = performance.now();
  while (seen.size < count && performance.now() - lastMs < idleMs) {
    const delivery = await broker.receive(channel, { max: 256, waitMs: 1_000, signal: NEVER }).catch(() => undefined);
    if (delivery === undefined || delivery.messages.length === 0) continue;
    lastMs = performance.now();
    for (const { body } of delivery.messages) seen.add(textOf(body));
    await delivery.settle("ack");
  }
  return [...seen].sort();
}

export async function healthBecomes(broker: Broker, ok: boolean): Promise<BrokerHealth> {
  const endMs = performance.now() + 20_000;
  for (;;) {
    const health = await broker.health();
    if (health.ok === ok) return health;
    if (performance.now() > endMs) throw new Error(`health stays ${JSON.stringify(health)}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

export const epochOf = (health: BrokerHealth): string => {
  if (!health.ok) throw new Error(health.reason);
  return health.epoch;
};

export const unavailable = { code: "broker.unavailable" };

export function itKeepsTheBrokerContract(openHarness: () => Promise<BrokerHarness>): void {
  describe("carrying", () => {
    it("delivers what was published, byte for byte, and forgets it when it is acknowledged", async () => {
      await using harness = await openHarness();
      await using broker = await open(harness.url);
      const channel = newChannel();
      const bodies = [Uint8Array.of(0), Uint8Array.of(255, 0, 128, 10, 13), Buffer.from("é and 日本"), new Uint8Array(MAX_BODY_BYTES).fill(7)];
      expect(await broker.publish(channel, bodies)).toEqual(bodies.map(() => ({ ok: true })));
      expect(await broker.depth(channel)).toMatchObject({ waiting: 4 });

      const delivery = await hold(broker, channel, 4);
      expect(delivery.messages.map(({ body }) => Buffer.from(body).toString("hex"))).toEqual(bodies.map((body) => Buffer.from(body).toString("hex")));
      const sequences = delivery.messages.map(({ sequence }) => sequence);
      expect(sequences).toEqual([...sequences].sort((a, b) => a - b));
      expect(await delivery.settle("ack")).toBe(true);

      expect(await broker.depth(channel)).toMatchObject({ waiting: 0, lastSequence: sequences.at(-1) });
      expect((await broker.receive(channel, { max: 256, waitMs: 300, signal: NEVER })).messages).toEqual([]);
    });

    it("wakes a waiting receiver at once, long before its wait is over", async () => {
      await using harness = await openHarness();
      await using broker = await open(harness.url);
      const channel = newChannel();
      const startMs = performance.now();
      const waiting = broker.receive(channel, { max: 256, waitMs: WAIT_MS, signal: NEVER });
      await new Promise((done) => setTimeout(done, 200));
      await broker.publish(channel, [bodyOf(1)]);
      const delivery = await waiting;
      expect(performance.now() - startMs).toBeLessThan(WAIT_MS / 2);
      expect(delivery.messages.map(({ body }) => textOf(body))).toEqual(["message 1"]);
      expect(await delivery.settle("ack")).toBe(true);
    });

    it("brings no more than was asked for, and leaves the rest to others", async () => {
      await using harness = await openHarness();
      await using one = await open(harness.url);
      await using other = await open(harness.url);
      const channel = newChannel();
      await one.publish(channel, range(30).map(bodyOf));
      const first = await hold(one, channel, 10);
      expect(await drain(other, channel, 20)).toHaveLength(20);
      expect(await one.depth(channel)).toMatchObject({ waiting: 10 });
      expect(await first.settle("ack")).toBe(true);
      expect(await one.depth(channel)).toMatchObject({ waiting: 0 });
    });

    it("answers thousands of bodies one by one, refuses what no message may be, and keeps the rest", async () => {
      await using harness = await openHarness();
      await using broker = await open(harness.url);
      const channel = newChannel();
      const bodies = range(2_500).map(bodyOf);
      bodies[3] = new Uint8Array(MAX_BODY_BYTES + 1);
      bodies[1_700] = new Uint8Array();
      const results = await broker.publish(channel, bodies);
      expect(results).toHaveLength(2_500);
      expect(results.flatMap((result, n) => (result.ok ? [] : [n]))).toEqual([3, 1_700]);
      expect(results[3]).toMatchObject({ ok: false, retryable: false, reason: expect.stringContaining("16385") });
      expect(await drain(broker, channel, 2_498)).toHaveLength(2_498);
    });

    it("keeps channels apart and refuses names that not every broker takes", async () => {
      await using harness = await openHarness();
      await using broker = await open(harness.url);
      const [a, b] = [newChannel(), newChannel()];
      await broker.publish(a, [bodyOf(1)]);
      expect(await broker.depth(b)).toMatchObject({ waiting: 0 });
      for (const bad of ["", "A", "a b", "a.", ".a", "a..b", "-a", "a/b", "a*", "a_b", "x".repeat(201)]) {
        await expect(broker.publish(bad, [bodyOf(1)])).rejects.toThrow("broker: channel");
        await expect(broker.receive(bad, { max: 1, waitMs: 0, signal: NEVER })).rejects.toThrow("broker: channel");
      }
    });

    it("shares one channel between receivers side by side: each message once, none left", async () => {
      await using harness = await openHarness();
      await using one = await open(harness.url);
      await using other = await open(harness.url);
      const channel = newChannel();
      await one.publish(channel, range(500).map(bodyOf));
      const seen: string[] = [];
      const receiver = async (broker: Broker): Promise<void> => {
        while (seen.length < 500) {
          const delivery = await broker.receive(channel, { max: 20, waitMs: 500, signal: NEVER });
          for (const { body } of delivery.messages) seen.push(textOf(body));
          await delivery.settle("ack");
        }
      };
      await Promise.all([receiver(one), receiver(one), receiver(other)]);
      expect(seen.sort()).toEqual(
        range(500)
          .map((n) => `message ${n}`)
          .sort(),
      );
      expect(await one.depth(channel)).toMatchObject({ waiting: 0 });
    });
  });

  describe("giving back", () => {
    it("gives back what was refused, for anyone, at once", async () => {
      await using harness = await openHarness();
      await using one = await open(harness.url);
      await using other = await open(harness.url);
      const channel = newChannel();
      await one.publish(channel, range(5).map(bodyOf));
      const delivery = await hold(one, channel, 5);
      expect(await delivery.settle("nack")).toBe(true);
      expect(await drain(other, channel, 5)).toHaveLength(5);
    });

    it("counts only the first settle", async () => {
      await using harness = await openHarness();
      await using broker = await open(harness.url);
      const channel = newChannel();
      await broker.publish(channel, [bodyOf(1)]);
      const delivery = await broker.receive(channel, { max: 1, waitMs: 2_000, signal: NEVER });
      expect(await delivery.settle("ack")).toBe(true);
      expect(await delivery.settle("nack")).toBe(false);
      expect(await broker.depth(channel)).toMatchObject({ waiting: 0 });
    });

    it("gives open deliveries back when it closes, ends waiting receivers, and is then away", async () => {
      await using harness = await openHarness();
      const closing = await open(harness.url);
      await using other = await open(harness.url);
      const channel = newChannel();
      await closing.publish(channel, range(3).map(bodyOf));
      const held = await hold(closing, channel, 3);
      const waiting = closing.receive(newChannel(), { max: 1, waitMs: 10_000, signal: NEVER });
      await new Promise((done) => setTimeout(done, 100));
      await closing[Symbol.asyncDispose]();
      expect((await waiting).messages).toEqual([]);
      expect(await held.settle("ack")).toBe(false);
      expect(await drain(other, channel, 3)).toHaveLength(3);

      expect(await closing.health()).toMatchObject({ ok: false });
      expect(await closing.publish(channel, [bodyOf(1)])).toEqual([{ ok: false, reason: expect.stringContaining("closed"), retryable: true }]);
      await expect(closing.receive(channel, { max: 1, waitMs: 0, signal: NEVER })).rejects.toMatchObject(unavailable);
      await expect(closing.depth(channel)).rejects.toMatchObject(unavailable);
      await closing[Symbol.asyncDispose]();
    });

    it("loses nothing to cancelled receives, whenever they are cancelled", async () => {
      await using harness = await openHarness();
      await using broker = await open(harness.url);
      const channel = newChannel();
      const seen = new Set<string>();
      let published = 0;
      for (const delayMs of [0, 1, 2, 3, 5, 8, 20, 50]) {
        const controller = new AbortController();
        const receiving = broker.receive(channel, { max: 5, waitMs: 3_000, signal: controller.signal });
        const publishing = broker.publish(
          channel,
          range(3).map((n) => bodyOf(published + n)),
        );
        published += 3;
        await new Promise((done) => setTimeout(done, delayMs));
        controller.abort();
        const delivery = await receiving;
        for (const { body } of delivery.messages) seen.add(textOf(body));
        await delivery.settle("ack");
        expect((await publishing).every(({ ok }) => ok)).toBe(true);
      }
      for (const text of await drain(broker, channel, published - seen.size)) seen.add(text);
      expect(seen.size).toBe(published);
    });

    it("answers a receive whose signal is aborted already", async () => {
      await using harness = await openHarness();
      await using broker = await open(harness.url);
      const delivery = await broker.receive(newChannel(), { max: 1, waitMs: 10_000, signal: AbortSignal.abort() });
      expect(delivery.messages).toEqual([]);
      expect(await delivery.settle("ack")).toBe(true);
    });
  });

  describe("health", () => {
    it("tells one epoch to everybody while nothing happens", async () => {
      await using harness = await openHarness();
      await using one = await open(harness.url);
      await using other = await open(harness.url);
      const epoch = epochOf(await one.health());
      await one.publish(newChannel(), [bodyOf(1)]);
      expect(epochOf(await one.health())).toBe(epoch);
      expect(epochOf(await other.health())).toBe(epoch);
    });
  });
}
