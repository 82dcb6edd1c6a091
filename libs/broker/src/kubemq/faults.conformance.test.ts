/** Any schedule of faults: what publish reported ok and no settle took is still there, unless the fault itself took data, and then the epoch is another. */
import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { expect, it } from "vitest";
import type { Broker, Delivery } from "../broker.ts";
import { bodyOf, epochOf, healthBecomes, textOf } from "../broker-conformance.ts";
import type { Fault } from "./double/faults.ts";
import { openKubemqDouble } from "./double/server.ts";
import { openKubemqBroker } from "./kubemq-broker.ts";

type Step =
  | { readonly do: "publish"; readonly count: number }
  | { readonly do: "receive"; readonly max: number; readonly then: "ack" | "nack" | "forget" }
  | { readonly do: "fault"; readonly fault: Fault }
  | { readonly do: "freeze" | "restart" | "wipe" }
  | { readonly do: "loseLast"; readonly count: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("publish" as const), count: fc.integer({ min: 1, max: 12 }) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("receive" as const),
      max: fc.integer({ min: 1, max: 8 }),
      then: fc.constantFrom("ack" as const, "ack" as const, "nack" as const, "forget" as const),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("fault" as const),
      fault: fc.oneof(
        fc.record({
          at: fc.constantFrom("SendQueueMessagesBatch" as const),
          kind: fc.constantFrom("dropBefore", "dropReply", "hang", "hangAfter", "errorItem", "duplicate", "reorder"),
          n: fc.nat(5),
        }),
        fc.record({
          at: fc.constantFrom("Get", "AckAll", "CloseByClient", "ActiveOffsets", "QueuesInfo"),
          kind: fc.constantFrom("dropBefore", "dropReply", "hang", "hangAfter", "delay"),
          delayMs: fc.integer({ min: 1, max: 100 }),
        }),
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("freeze" as const, "restart" as const, "wipe" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("loseLast" as const), count: fc.integer({ min: 1, max: 6 }) }) },
) as fc.Arbitrary<Step>;

const openClient = (port: number, patienceMs: number): Broker =>
  openKubemqBroker(
    { host: "127.0.0.1", port, tls: undefined, token: undefined },
    { clientName: `faults-${randomUUID().slice(0, 8)}`, random: () => 0, patienceMs },
  );

async function play(schedule: readonly Step[]): Promise<void> {
  await using double = await openKubemqDouble();
  const channel = "faults.a";
  const published = new Set<string>();
  const received = new Set<string>();
  let number = 0;
  let lossy = false;
  let before = "";

  const take = (delivery: Delivery): void => {
    for (const { body } of delivery.messages) received.add(textOf(body));
  };
  const receive = async (broker: Broker, max: number, waitMs: number): Promise<Delivery | undefined> => {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), waitMs);
    const delivery = await broker.receive(channel, { max, waitMs: 1_000, signal: controller.signal }).catch(() => undefined);
    clearTimeout(timer);
    return delivery;
  };

  {
    // Schedules run side by side: the first answer may take longer than the little patience they are played with.
    await using broker = openClient(double.port, 5_000);
    before = epochOf(await healthBecomes(broker, true));
  }
  {
    await using broker = openClient(double.port, 200);
    for (const now of schedule) {
      switch (now.do) {
        case "publish": {
          const texts = Array.from({ length: now.count }, () => bodyOf(number++));
          const results = await broker.publish(channel, texts, { timeoutMs: 150 });
          for (const [n, result] of results.entries()) if (result.ok) published.add(textOf(texts[n] ?? Buffer.alloc(0)));
          break;
        }
        case "receive": {
          const delivery = await receive(broker, now.max, 250);
          // What nobody acknowledges counts as not seen: it must come again.
          if (now.then === "ack" && delivery !== undefined) {
            take(delivery);
            await delivery.settle("ack");
          } else if (now.then === "nack") await delivery?.settle("nack");
          break;
        }
        case "fault":
          double.faults.add(now.fault);
          break;
        case "freeze":
          double.freeze();
          setTimeout(() => double.thaw(), 300);
          break;
        case "restart":
          await double.restart();
          break;
        case "wipe":
          lossy = true;
          await double.restart({ keepData: false });
          break;
        case "loseLast":
          lossy = true;
          await double.restart({ loseLast: now.count });
          break;
      }
    }
    double.thaw();
    double.faults.clear();
  }

  await using broker = openClient(double.port, 5_000);
  const health = await healthBecomes(broker, true);
  for (let turns = 0; turns < 200 && (await broker.depth(channel)).waiting > 0; turns += 1) {
    const delivery = await receive(broker, 256, 3_000);
    if (delivery === undefined) continue;
    take(delivery);
    await delivery.settle("ack");
  }
  const lost = [...published].filter((text) => !received.has(text));
  if (lossy) expect(health).not.toMatchObject({ epoch: before });
  else expect(lost).toEqual([]);
}

it("loses nothing silently under any schedule of faults", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(step, { minLength: 3, maxLength: 14 }), { minLength: 10, maxLength: 10 }), async (schedules) => {
      await Promise.all(schedules.map(play));
    }),
    { numRuns: 6, endOnFailure: true },
  );
}, 240_000);
