/** TLS, users and tokens on the real nats-server: what is right works, what is wrong fails with a reason that shows no secret. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Broker } from "../broker.ts";
import { bodyOf, NEVER, newChannel, open, textOf } from "../broker-conformance.ts";
import { testCertificate } from "../test-certificate.ts";
import { findNatsServer, type NatsServerOptions, openNatsServer } from "./nats-server.ts";

const SECRET = "s3cret/with@signs";
const ENCODED = encodeURIComponent(SECRET);
const program = process.env["NATS_SERVER"];
const found = findNatsServer(program);
if (found === undefined) console.log("SKIPPED: TLS, users and tokens on NATS; set NATS_SERVER, or: apt-get install nats-server");

let folder = "";
let ca = "";
let tokenFile = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "onedata-nats-security-"));
  ca = join(folder, "ca.pem");
  tokenFile = join(folder, "token");
  await writeFile(ca, testCertificate.certPem);
  await writeFile(tokenFile, `${SECRET}\n`);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const openServer = (options: NatsServerOptions) => openNatsServer({ ...options, ...(program === undefined ? {} : { program }) });

async function carriesOne(broker: Broker): Promise<void> {
  const channel = newChannel();
  expect(await broker.publish(channel, [bodyOf(1)])).toEqual([{ ok: true }]);
  const delivery = await broker.receive(channel, { max: 1, waitMs: 5_000, signal: NEVER });
  expect(delivery.messages.map(({ body }) => textOf(body))).toEqual(["message 1"]);
  expect(await delivery.settle("ack")).toBe(true);
  expect(await broker.depth(channel)).toMatchObject({ waiting: 0 });
  expect(await broker.health()).toMatchObject({ ok: true });
}

async function isRefused(broker: Broker): Promise<void> {
  const health = await broker.health();
  expect(health.ok).toBe(false);
  expect(JSON.stringify(health)).not.toMatch(/s3cret/);
  expect(await broker.publish(newChannel(), [bodyOf(1)])).toMatchObject([{ ok: false, retryable: true }]);
}

describe.skipIf(found === undefined)("NATS with security", () => {
  it("speaks TLS with a server whose certificate its own authority signed, and with no other", async () => {
    await using server = await openServer({ tls: testCertificate });
    await using trusting = await open(`${server.url}?tls=true&ca=${ca}`);
    await carriesOne(trusting);
    await using distrusting = await open(`${server.url}?tls=true`);
    await isRefused(distrusting);
  });

  it("does not fall back to plain text when TLS was asked for", async () => {
    await using server = await openServer({});
    await using broker = await open(`${server.url}?tls=true&ca=${ca}`);
    await isRefused(broker);
  });

  it("logs in by user and password, with the rights that the guide names", async () => {
    // docs/broker.md, "Running NATS".
    const rights = 'permissions: {publish: ["onedata.q.>", "$JS.API.>", "$JS.ACK.onedata.>"], subscribe: ["_INBOX.>"]}';
    await using server = await openServer({ config: `authorization: {users: [{user: app, password: ${JSON.stringify(SECRET)}, ${rights}}]}` });
    const at = server.url.replace("nats://", "");
    await using known = await open(`nats://app:${ENCODED}@${at}`);
    await carriesOne(known);
    for (const url of [`nats://app:s3cret@${at}`, `nats://other:${ENCODED}@${at}`, `nats://${at}`]) {
      await using unknown = await open(url);
      await isRefused(unknown);
    }
  });

  it("logs in by token, given in any of three places", async () => {
    await using server = await openServer({ config: `authorization: {token: ${JSON.stringify(SECRET)}}` });
    const at = server.url.replace("nats://", "");
    for (const url of [`nats://${ENCODED}@${at}`, `nats://${at}?token=${ENCODED}`, `nats://${at}?tokenFile=${tokenFile}`]) {
      await using known = await open(url);
      await carriesOne(known);
    }
    for (const url of [`nats://${at}?token=s3cret`, `nats://${at}`]) {
      await using unknown = await open(url);
      await isRefused(unknown);
    }
  });

  it("logs in over TLS", async () => {
    await using server = await openServer({ tls: testCertificate, config: `authorization: {user: app, password: ${JSON.stringify(SECRET)}}` });
    await using broker = await open(`nats://app:${ENCODED}@${server.url.replace("nats://", "")}?ca=${ca}`);
    await carriesOne(broker);
  });
});
