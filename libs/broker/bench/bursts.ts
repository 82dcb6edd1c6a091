/**
 * How late messages are when they come in bursts and several receivers stand side by side, as engines do: a connection each, and a channel each where a channel bears
 * one receiver (`--shared`: one channel for all of them, whatever it bears).
 * Run: node --conditions=source --import tsx libs/broker/bench/bursts.ts --url kubemq://host:50000 [--receivers 4] [--bursts 200] [--size 10] [--gap 100] [--shared]
 */
import { randomUUID } from "node:crypto";
import { parseArgs } from "node:util";
import { type Broker, openBroker } from "@onedata/broker";

const { values } = parseArgs({
  options: {
    url: { type: "string" },
    receivers: { type: "string", default: "4" },
    bursts: { type: "string", default: "200" },
    size: { type: "string", default: "10" },
    gap: { type: "string", default: "100" },
    shared: { type: "boolean", default: false },
  },
});
const [receivers, bursts, size, gapMs] = [Number(values.receivers), Number(values.bursts), Number(values.size), Number(values.gap)];
const WAIT_FOR_LAST_MS = 20_000;
const sentMs: number[] = [];
const delays = new Map<number, number>();
let doubled = 0;
const stop = new AbortController();

await using publisher = await open();
const base = `bench.${randomUUID().slice(0, 8)}`;
const channels = Array.from({ length: receivers }, (_, n) => (values.shared || publisher.receivers === "many" ? base : `${base}.${n}`));
const receiving = Promise.all(channels.map(receive));
for (let burst = 0; burst < bursts; burst += 1) {
  await new Promise((done) => setTimeout(done, gapMs * (0.5 + Math.random())));
  const numbers = Array.from({ length: size }, (_, n) => burst * size + n);
  for (const n of numbers) sentMs[n] = performance.now();
  await Promise.all(
    channels.map((channel, at) =>
      publisher.publish(
        channel,
        numbers.filter((n) => n % receivers === at).map((n) => Buffer.from(String(n))),
      ),
    ),
  );
}
for (const endMs = performance.now() + WAIT_FOR_LAST_MS; delays.size < sentMs.length && performance.now() < endMs; ) {
  await new Promise((done) => setTimeout(done, 50));
}
stop.abort();
await receiving;
const sorted = [...delays.values()].sort((a, b) => a - b);
const at = (share: number): number => Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0);
console.log(
  `${publisher.kind}: ${receivers} receivers on ${new Set(channels).size} channels, ${bursts} bursts of ${size} every ${gapMs} ms: ` +
    `p50 ${at(0.5)}, p99 ${at(0.99)}, max ${at(1)} ms; not received ${sentMs.length - delays.size}, doubled ${doubled}`,
);

async function receive(channel: string): Promise<void> {
  await using broker = await open();
  for (let max = 1; !stop.signal.aborted; ) {
    const delivery = await broker.receive(channel, { max, waitMs: 2_000, signal: stop.signal });
    const nowMs = performance.now();
    max = delivery.messages.length === max ? Math.min(2 * max, 16) : 1;
    for (const { body } of delivery.messages) {
      const n = Number(Buffer.from(body).toString());
      if (delays.has(n)) doubled += 1;
      else delays.set(n, nowMs - (sentMs[n] ?? nowMs));
    }
    if (delivery.messages.length > 0) await delivery.settle("ack");
  }
}

async function open(): Promise<Broker> {
  const broker = await openBroker(values.url ?? "none:");
  if (broker === undefined) throw new Error("--url names the broker");
  return broker;
}
