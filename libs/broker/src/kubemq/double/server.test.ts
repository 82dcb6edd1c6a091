/** What only the double can be asked: its clock, its limits, its faults, and what needs a server that checks certificates and tokens. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { open } from "../../broker-conformance.ts";
import { testCertificate } from "../../test-certificate.ts";
import { bodiesOf, openRawClient } from "./raw-client.ts";
import { openKubemqDouble } from "./server.ts";

describe("retention of the double", () => {
  it("deletes by age what nobody has read, and keeps it for ever when that is off", async () => {
    for (const [retentionMinutes, left] of [
      [10, 0n],
      [0, 2n],
    ] as const) {
      let nowMs = 1_790_000_000_000;
      await using double = await openKubemqDouble({ now: () => nowMs, retentionMinutes, purgeInactiveMinutes: 0 });
      const client = openRawClient(double.address);
      await client.sendAll("queue", ["a", "b"]);
      nowMs += 11 * 60_000;
      await client.sendAll("queue", ["c"]);
      expect(await client.info("queue")).toMatchObject({ waiting: left + 1n, lastSequence: 3n });
      expect(bodiesOf((await client.pull("queue", 1, 1)).messages)).toEqual([left === 0n ? "c" : "a"]);
      client.close();
    }
  });

  it("deletes a queue nobody uses, with its content, and counts from 1 again", async () => {
    let nowMs = 1_790_000_000_000;
    await using double = await openKubemqDouble({ now: () => nowMs, retentionMinutes: 0, purgeInactiveMinutes: 10 });
    const client = openRawClient(double.address);
    await client.sendAll("queue", ["a", "b"]);
    nowMs += 11 * 60_000;
    expect(await client.info("queue")).toBeUndefined();
    await client.sendAll("queue", ["c"]);
    expect(await client.info("queue")).toMatchObject({ waiting: 1n, lastSequence: 1n });
    client.close();
  });
});

describe("limits of the double", () => {
  it("takes no request above 100 MiB", async () => {
    await using double = await openKubemqDouble();
    const client = openRawClient(double.address);
    await expect(client.send("queue", { body: new Uint8Array(101 << 20) })).rejects.toMatchObject({ code: 8 });
    client.close();
  });
});

describe("faults of the double", () => {
  it("hit one kind of call, as often as asked, and say nothing of it", async () => {
    await using double = await openKubemqDouble();
    const client = openRawClient(double.address);
    double.faults.add({ at: "SendQueueMessagesBatch", kind: "dropBefore" });
    await expect(client.sendAll("queue", ["lost"])).rejects.toMatchObject({ code: 14 });
    double.faults.add({ at: "SendQueueMessagesBatch", kind: "dropReply" });
    await expect(client.sendAll("queue", ["kept"])).rejects.toMatchObject({ code: 14 });
    double.faults.add({ at: "SendQueueMessagesBatch", kind: "duplicate" });
    await client.sendAll("queue", ["twice"]);
    double.faults.add({ at: "SendQueueMessagesBatch", kind: "reorder" });
    await client.sendAll("queue", ["second", "first"]);
    double.faults.add({ at: "SendQueueMessagesBatch", kind: "errorItem", n: 1 });
    expect((await client.sendAll("queue", ["fine", "bad"])).results.map(({ isError }) => isError)).toEqual([false, true]);
    expect(bodiesOf((await client.pull("queue", 6, 5)).messages)).toEqual(["kept", "twice", "twice", "first", "second", "fine"]);
    client.close();
  });

  it("loses the newest messages to a power loss, and the sequence shows it", async () => {
    await using double = await openKubemqDouble();
    const client = openRawClient(double.address);
    await client.sendAll("queue", ["a", "b", "c"]);
    const before = await client.ping();
    await double.restart({ loseLast: 2 });
    const after = await client.ping().catch(() => client.ping());
    expect(after.serverStartTime).toBeGreaterThan(before.serverStartTime);
    expect(await client.info("queue")).toMatchObject({ waiting: 1n, lastSequence: 1n });
    expect(bodiesOf((await client.pull("queue", 1, 5)).messages)).toEqual(["a"]);
    client.close();
  });
});

describe("the way to the server", () => {
  it("ends with what is wrong, when nobody is there", async () => {
    await using double = await openKubemqDouble();
    await using broker = await open(double.url);
    await double.stop();
    const refused = expect.stringMatching(new RegExp(`ECONNREFUSED 127\\.0\\.0\\.1:${double.port}\\.?$`));
    await expect.poll(() => broker.health()).toEqual({ ok: false, reason: refused });
  });

  it("is encrypted and proves the server when the address asks for it", async () => {
    await using double = await openKubemqDouble({ tls: testCertificate });
    const folder = await mkdtemp(join(tmpdir(), "onedata-kubemq-tls-"));
    try {
      const ca = join(folder, "ca.pem");
      await writeFile(ca, testCertificate.certPem);
      await using trusting = await open(`kubemqs://127.0.0.1:${double.port}?ca=${encodeURIComponent(ca)}`);
      expect(await trusting.health()).toMatchObject({ ok: true });
      expect(await trusting.publish("queue", [Uint8Array.of(1)])).toEqual([{ ok: true }]);
      await using stranger = await open(`kubemqs://127.0.0.1:${double.port}`);
      expect(await stranger.health()).toMatchObject({ ok: false, reason: expect.stringContaining("certificate") });
      await using plain = await open(`kubemq://127.0.0.1:${double.port}`);
      expect(await plain.health()).toMatchObject({ ok: false });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("carries the token with every call", async () => {
    await using double = await openKubemqDouble({ token: "s3cret" });
    await using known = await open(`${double.url}?token=s3cret`);
    expect(await known.publish("queue", [Uint8Array.of(1)])).toEqual([{ ok: true }]);
    const delivery = await known.receive("queue", { max: 1, waitMs: 1_000, signal: new AbortController().signal });
    expect(delivery.messages).toHaveLength(1);
    expect(await delivery.settle("ack")).toBe(true);
    expect(await known.depth("queue")).toMatchObject({ waiting: 0 });
    await using unknown = await open(double.url);
    expect(await unknown.health()).toMatchObject({ ok: false, reason: expect.stringContaining("Error 421") });
    expect(await unknown.publish("queue", [Uint8Array.of(1)])).toMatchObject([{ ok: false }]);
    await expect(unknown.receive("queue", { max: 1, waitMs: 0, signal: new AbortController().signal })).rejects.toThrow("Error 421");
  });
});
