/**
 * A million pointers, one per message (the product packs up to 256 into one): published, received, acknowledged, counted. Prints rates, memory, lost and doubled.
 * Run: node --conditions=source --import tsx libs/broker/bench/carry.ts [--messages 1000000] [--receivers N] [--on nats,double,kubemq]
 * Receivers, if not said: as many as a channel of this broker bears, two at most.
 * NATS runs when nats-server is found; KubeMQ when KUBEMQ_SERVER names its program, or KUBEMQ_ADDRESS a server that runs. The double is a test server in memory: its figures say what the client side costs, nothing
 * about KubeMQ.
 */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { type Broker, decodePointers, encodePointers, openBroker } from "@onedata/broker";
import { findNatsServer, kubemqProgram, openKubemqDoubleProcess, openKubemqServer, openNatsServer } from "@onedata/broker/testing";
import { toBatchId, toLaneId } from "@onedata/core";

const { values } = parseArgs({
  options: {
    messages: { type: "string", default: "1000000" },
    receivers: { type: "string" },
    on: { type: "string", default: "nats,double,kubemq" },
  },
});
const total = Number(values.messages);
const wanted = values.on.split(",");
const SLICE = 5_000;
const FIRST_BATCH = 1_790_000_000_000n << 20n;

if (wanted.includes("nats")) {
  if (findNatsServer(process.env["NATS_SERVER"]) === undefined) {
    console.log("nats                skipped: apt-get install nats-server, or NATS_SERVER=<path>");
  } else {
    await using server = await openNatsServer(process.env["NATS_SERVER"] === undefined ? {} : { program: process.env["NATS_SERVER"] });
    await carry(`nats ${server.version}`, server.url, server.pid);
  }
}
if (wanted.includes("double")) {
  await using double = await openKubemqDoubleProcess();
  await carry("DOUBLE of kubemq", double.url, double.pid);
}
if (wanted.includes("kubemq")) {
  const [program, address] = [kubemqProgram(), process.env["KUBEMQ_ADDRESS"]];
  if (program !== undefined) {
    await using server = await openKubemqServer({ program });
    await carry(`kubemq ${server.version}`, server.url, server.pid);
  } else if (address === undefined) {
    console.log("kubemq              skipped: KUBEMQ_SERVER=<program>, or KUBEMQ_ADDRESS=host:50000");
  } else {
    await carry("kubemq", `kubemq://${address}`, undefined);
  }
}

async function carry(name: string, url: string, serverPid: number | undefined): Promise<void> {
  await using broker = (await openBroker(url)) ?? none();
  const channel = `bench.${randomUUID().slice(0, 8)}`;
  const receivers = values.receivers === undefined ? (broker.receivers === "one" ? 1 : 2) : Number(values.receivers);
  let clientPeak = 0;
  let serverPeak = 0;
  const sample = setInterval(() => {
    clientPeak = Math.max(clientPeak, process.memoryUsage.rss());
    serverPeak = Math.max(serverPeak, serverPid === undefined ? 0 : rssOf(serverPid));
  }, 100);

  let startMs = performance.now();
  let refused = 0;
  for (let from = 0; from < total; from += SLICE) {
    const bodies = Array.from({ length: Math.min(SLICE, total - from) }, (_, i) =>
      encodePointers([{ batchId: toBatchId(FIRST_BATCH + BigInt(from + i)), laneId: toLaneId(1n), publishSeq: 1 }]),
    );
    for (const result of await broker.publish(channel, bodies)) if (!result.ok) refused += 1;
  }
  const publishMs = performance.now() - startMs;

  const seen = new Uint8Array(total);
  let received = 0;
  let doubled = 0;
  let unconfirmed = 0;
  const signal = new AbortController().signal;
  startMs = performance.now();
  await Promise.all(Array.from({ length: receivers }, () => receive(broker)));
  const receiveMs = performance.now() - startMs;
  clearInterval(sample);
  const depth = await broker.depth(channel);
  const rate = (ms: number): string => `${Math.round(total / ms)} k/s`.padStart(9);
  console.log(
    `${name.padEnd(19)} ${total} messages: published ${rate(publishMs)}, received and settled ${rate(receiveMs)}; refused ${refused}, lost ${total - refused - received}, ` +
      `doubled ${doubled}, unconfirmed settles ${unconfirmed}, waiting ${depth.waiting}; RSS peak client ${mib(clientPeak)}, server ${mib(serverPeak)}`,
  );

  async function receive(from: Broker): Promise<void> {
    for (let empty = 0; received < total - refused && empty < 5; ) {
      const delivery = await from.receive(channel, { max: 256, waitMs: 1_000, signal });
      empty = delivery.messages.length === 0 ? empty + 1 : 0;
      for (const { body } of delivery.messages) {
        const n = Number((decodePointers(body)[0]?.batchId ?? FIRST_BATCH) - FIRST_BATCH);
        if (seen[n] === 0) received += 1;
        else doubled += 1;
        seen[n] = 1;
      }
      if (!(await delivery.settle("ack"))) unconfirmed += 1;
    }
  }
}

function none(): never {
  throw new Error("no broker");
}

function rssOf(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
  } catch {
    return 0;
  }
}

function mib(bytes: number): string {
  return bytes === 0 ? "unknown" : `${Math.round(bytes / (1 << 20))} MiB`;
}
