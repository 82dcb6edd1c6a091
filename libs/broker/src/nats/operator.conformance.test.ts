/** What the operator of a nats-server does to our stream and consumers stays as it is, and what breaks us is said, on the real nats-server. */
import { AckPolicy, type JetStreamManager, jetstreamManager, RetentionPolicy, type StreamUpdateConfig } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { describe, expect, it } from "vitest";
import { bodyOf, hold, newChannel, open, textOf } from "../broker-conformance.ts";
import { findNatsServer, type NatsServer, openNatsServer } from "./nats-server.ts";

const program = process.env["NATS_SERVER"];
const found = findNatsServer(program);
if (found === undefined) console.log("SKIPPED: operators' changes to NATS; set NATS_SERVER, or: apt-get install nats-server");

const openServer = () => openNatsServer(program === undefined ? {} : { program });
const SECOND_NS = 1_000_000_000;

async function asOperator<T>({ url }: NatsServer, work: (manager: JetStreamManager) => Promise<T>): Promise<T> {
  const nats = await connect({ servers: url.replace("nats://", "") });
  try {
    return await work(await jetstreamManager(nats));
  } finally {
    await nats.close();
  }
}

async function carries(url: string, channel: string): Promise<void> {
  await using broker = await open(url);
  expect(await broker.health()).toMatchObject({ ok: true });
  expect(await broker.publish(channel, [bodyOf(1)])).toEqual([{ ok: true }]);
  const delivery = await hold(broker, channel, 1);
  expect(delivery.messages.map(({ body }) => textOf(body))).toEqual(["message 1"]);
  expect(await delivery.settle("ack")).toBe(true);
  expect(await broker.depth(channel)).toMatchObject({ waiting: 0 });
}

async function isRefused(url: string, channel: string, reason: string): Promise<void> {
  await using broker = await open(url);
  expect(await broker.health()).toEqual({ ok: false, reason: expect.stringContaining(reason) });
  expect(await broker.publish(channel, [bodyOf(1)])).toEqual([{ ok: false, retryable: true, reason: expect.stringContaining(reason) }]);
}

describe.skipIf(found === undefined)("NATS with an operator", () => {
  const changes: [string, Partial<StreamUpdateConfig>][] = [
    ["max_age", { max_age: 3_600 * SECOND_NS }],
    ["description", { description: "of OneData" }],
    ["max_bytes", { max_bytes: 1 << 28 }],
    ["duplicate_window", { duplicate_window: 60 * SECOND_NS }],
    ["more subjects", { subjects: ["onedata.q.>", "ours.>"] }],
    ["wider subjects", { subjects: ["onedata.>"] }],
  ];
  it.each(changes)("carries on when the stream's settings were changed: %s", async (_, change) => {
    await using server = await openServer();
    const channel = newChannel();
    await carries(server.url, channel);
    const changed = await asOperator(server, (manager) => manager.streams.update("onedata", change));
    expect(changed.config).toMatchObject(change);
    await carries(server.url, channel);
    const { config } = await asOperator(server, (manager) => manager.streams.info("onedata"));
    expect(config).toEqual(changed.config);
  });

  it("takes a stream that was made beforehand, and consumers with other limits", async () => {
    await using server = await openServer();
    const channel = newChannel();
    await asOperator(server, (manager) =>
      manager.streams.add({ name: "onedata", subjects: ["onedata.q.>"], retention: RetentionPolicy.Workqueue, max_msgs: 1_000_000 }),
    );
    await carries(server.url, channel);
    await asOperator(server, (manager) => manager.consumers.update("onedata", channel.replaceAll(".", "_"), { max_ack_pending: 5_000 }));
    await carries(server.url, channel);
  });

  it("refuses a stream that would keep everything, or gets none of our messages", async () => {
    await using server = await openServer();
    const channel = newChannel();
    await asOperator(server, async (manager) => {
      await manager.streams.add({ name: "limits", subjects: ["limits.q.>"] });
      await manager.streams.add({ name: "elsewhere", subjects: ["theirs.>"], retention: RetentionPolicy.Workqueue });
    });
    await isRefused(`${server.url}?stream=limits`, channel, 'stream "limits" has the retention "limits", not "workqueue"');
    await isRefused(`${server.url}?stream=elsewhere`, channel, 'stream "elsewhere" has the subjects ["theirs.>"], none is "elsewhere.q.>"');
    // It says so until it is changed, and needs no restart then.
    await using broker = await open(`${server.url}?stream=elsewhere`);
    expect(await broker.health()).toMatchObject({ ok: false });
    await asOperator(server, (manager) => manager.streams.update("elsewhere", { subjects: ["elsewhere.q.>"] }));
    await expect.poll(() => broker.health()).toMatchObject({ ok: true });
  });

  it("refuses a consumer of something else", async () => {
    await using server = await openServer();
    const channel = newChannel();
    const consumer = channel.replaceAll(".", "_");
    await asOperator(server, async (manager) => {
      await manager.streams.add({ name: "onedata", subjects: ["onedata.q.>"], retention: RetentionPolicy.Workqueue });
      await manager.consumers.add("onedata", { durable_name: consumer, filter_subject: "onedata.q.another", ack_policy: AckPolicy.Explicit });
    });
    await using broker = await open(server.url);
    await expect(broker.depth(channel)).rejects.toMatchObject({
      code: "broker.unavailable",
      message: expect.stringContaining(`consumer "${consumer}" is not a pull consumer of "onedata.q.${channel}"`),
    });
  });

  it("asks the server for the replicas it was told", async () => {
    await using server = await openServer();
    // This server is alone.
    await isRefused(`${server.url}?replicas=3`, newChannel(), "replicas > 1 not supported in non-clustered mode");
    await carries(`${server.url}?replicas=1`, newChannel());
    // A stream that is there keeps its own.
    await carries(`${server.url}?replicas=3`, newChannel());
  });
});
