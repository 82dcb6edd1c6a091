import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readBrokerUrl, redactBrokerUrl } from "./broker-url.ts";
import { openBroker } from "./open-broker.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "onedata-broker-url-"));
  await writeFile(join(folder, "token"), "s3cret\n");
  await writeFile(join(folder, "ca.pem"), "CA");
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("the address of a broker", () => {
  it("is none, and then there is no broker", async () => {
    expect(await openBroker("none:")).toBeUndefined();
  });

  it("names a server; port, TLS and token have defaults", async () => {
    expect(await readBrokerUrl("kubemq://broker:50001")).toEqual({
      scheme: "kubemq",
      host: "broker",
      port: 50_001,
      tls: undefined,
      token: undefined,
    });
    expect(await readBrokerUrl("kubemqs://broker")).toEqual({
      scheme: "kubemq",
      host: "broker",
      port: 50_000,
      tls: { ca: undefined },
      token: undefined,
    });
    expect(await readBrokerUrl("nats://broker")).toMatchObject({ scheme: "nats", host: "broker", port: 4222, stream: "onedata", user: undefined });
  });

  it("carries secrets inline or by file, and a CA by file", async () => {
    const file = encodeURIComponent(join(folder, "token"));
    expect(await readBrokerUrl(`kubemq://broker?ca=${encodeURIComponent(join(folder, "ca.pem"))}&tokenFile=${file}`)).toMatchObject({
      tls: { ca: "CA" },
      token: "s3cret",
    });
    expect(await readBrokerUrl("nats://ann:p%40ss@broker?tls=true&stream=other&replicas=3")).toMatchObject({
      user: "ann",
      password: "p@ss",
      token: undefined,
      stream: "other",
      replicas: 3,
      tls: { ca: undefined },
    });
    expect(await readBrokerUrl("nats://t0ken@broker")).toMatchObject({ token: "t0ken", user: undefined });
  });

  it("says what is wrong, and what is known", async () => {
    const problems: [string, string][] = [
      ["amqp://broker", 'unknown scheme "amqp:"; known: none:, kubemq://'],
      ["kubemq", "unknown scheme"],
      ["kubemq://", "unknown scheme"],
      ["kubemq://broker/queue", "nothing may follow the port"],
      ["kubemq://ann:p@broker", "KubeMQ knows no user"],
      ["kubemq://broker?tsl=true", 'unknown option "tsl"; known: tls, ca, token, tokenFile'],
      ["kubemq://broker?tls=maybe", 'tls is "maybe"'],
      ["kubemqs://broker?tls=false", "contradicts"],
      ["kubemq://broker?ca=/no/such/file", '"/no/such/file", cannot be read'],
      ["nats://broker?stream=a.b", 'stream "a.b"'],
      ["nats://broker?replicas=0", 'replicas is "0"; it is 1 to 5'],
    ];
    for (const [url, message] of problems) {
      await expect(readBrokerUrl(url), url).rejects.toMatchObject({ code: "config.problems", message: expect.stringContaining(message) });
    }
  });

  it("never shows a secret", async () => {
    expect(redactBrokerUrl("nats://ann:p4ss@broker:1?tls=true&token=abc&stream=x")).toBe("nats://***@broker:1?tls=true&token=***&stream=x");
    const error: unknown = await readBrokerUrl("nats://ann:p4ss@broker/x?token=t0ken").catch((thrown: unknown) => thrown);
    expect(String(error)).not.toMatch(/ann|p4ss|t0ken/);
  });
});
