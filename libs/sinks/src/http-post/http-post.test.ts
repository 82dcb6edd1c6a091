import type { ServerResponse } from "node:http";
import { describe, expect, it } from "vitest";
import { testContext, testGroup, testRecord } from "../conformance.ts";
import type { ConnectionConfig, WriteOutcomes } from "../sink.ts";
import { createAddressPolicy } from "./address-policy.ts";
import { createHttpClient } from "./client.ts";
import { createHttpPost, createHttpWriter } from "./http-post.ts";
import { openReceiver, type Received } from "./testing.ts";

const ok = (_: Received, response: ServerResponse): void => void response.writeHead(204).end();
const group = (url: string, count: number, config = {}, connection?: ConnectionConfig) =>
  testGroup(
    {
      kind: "http.post",
      config: { url, ...(connection === undefined ? {} : { connection: connection.name }), ...config },
      connection: connection ?? { name: "none", kind: "http", config: {} },
    },
    Array.from({ length: count }, (_, n) => testRecord(n, `{"id":${n},"big":12345678901234567890}`)),
  );
const codes = (outcomes: WriteOutcomes): string[] => [...outcomes.values()].map((o) => (o.kind === "failed" ? `${o.code}: ${o.message}` : o.kind));

describe("the body and the keys", () => {
  it("sends the records' own text in batches, with a key that depends on the records only", async () => {
    await using receiver = await openReceiver(ok);
    const writer = createHttpWriter(createHttpClient({ allowedAddresses: ["127.0.0.1"] }));
    for (let time = 0; time < 2; time++) await writer.write([group(receiver.url, 3, { batchSize: 2 })], testContext());
    const [first, second, again] = receiver.received;
    expect([first?.body, second?.body]).toEqual([
      '[{"id":0,"big":12345678901234567890},{"id":1,"big":12345678901234567890}]',
      '[{"id":2,"big":12345678901234567890}]',
    ]);
    expect(again?.headers["idempotency-key"]).toBe(first?.headers["idempotency-key"]);
    expect(second?.headers["idempotency-key"]).not.toBe(first?.headers["idempotency-key"]);
  });

  it("speaks NDJSON, single objects and keyed records", async () => {
    await using receiver = await openReceiver(ok);
    const writer = createHttpWriter(createHttpClient({ allowedAddresses: ["127.0.0.0/8"] }));
    await writer.write([group(receiver.url, 2, { format: "ndjson" })], testContext());
    await writer.write([group(receiver.url, 1, { format: "object", keyed: true })], testContext());
    expect(receiver.received.map((r) => [r.headers["content-type"], r.body])).toEqual([
      ["application/x-ndjson", '{"id":0,"big":12345678901234567890}\n{"id":1,"big":12345678901234567890}\n'],
      ["application/json", '{"key":"1-0-0-0","value":{"id":0,"big":12345678901234567890}}'],
    ]);
    expect(receiver.received[1]?.headers["idempotency-key"]).toBe("1-0-0-0");
  });

  it("joins the connection's base and path, and sends its secret headers", async () => {
    await using receiver = await openReceiver(ok);
    const connection: ConnectionConfig = {
      name: "billing",
      kind: "http",
      config: { baseUrl: `${receiver.url}/v1`, headers: JSON.stringify({ Authorization: "Bearer s3cret" }) },
    };
    const writer = createHttpWriter(createHttpClient({ allowedAddresses: ["127.0.0.1"] }));
    expect(codes(await writer.write([group("orders", 1, {}, connection)], testContext()))).toEqual(["written"]);
    expect(receiver.received[0]).toMatchObject({ url: "/v1/orders", headers: { authorization: "Bearer s3cret" } });
    expect(codes(await writer.write([group("https://elsewhere.example/x", 1, {}, connection)], testContext()))[0]).toMatch(
      /^config.invalid: .*must stay below the connection's baseUrl/,
    );
  });
});

describe("the header of the key", () => {
  it("may be neither one that the sink sets itself nor one that is sent besides", async () => {
    const sink = createHttpPost(createHttpClient({ allowedAddresses: ["127.0.0.1"] }));
    const connection: ConnectionConfig = {
      name: "billing",
      kind: "http",
      config: { baseUrl: "http://127.0.0.1:9", headers: { "X-Api-Key": "s3cret" } },
    };
    const check = async (keyHeader: string) =>
      (
        await sink.check({
          config: { connection: "billing", url: "x", keyHeader, headers: { "X-Own": "1" } },
          connection,
          tenant: "t",
          signal: new AbortController().signal,
        })
      ).map(({ pointer, detail }) => `${pointer} ${detail}`);
    for (const name of [
      "Transfer-Encoding",
      "content-length",
      "Host",
      "Content-Type",
      "CONNECTION",
      "Expect",
      "Upgrade",
      "TE",
      "Trailer",
      "Accept",
      "User-Agent",
    ])
      expect(await check(name)).toEqual([expect.stringMatching(new RegExp(`^/keyHeader keyHeader is ${name}, which is set by the sink itself`))]);
    for (const name of ["x-api-key", "X-OWN"]) expect(await check(name)).toEqual([expect.stringMatching(/among the headers too/)]);
    expect(await check("X Key")).toEqual([expect.stringMatching(/not a header name/)]);
    for (const name of ["Idempotency-Key", "idempotency-key", "X-Request-Key"]) expect(await check(name)).toEqual([]);
  });
});

describe("faults of the receiver", () => {
  it.each([
    401, 403, 404, 408, 409, 429, 501, 502, 503, 504, 302,
  ])("waits on %i without a dead letter, and sends nothing after it", async (status) => {
    await using receiver = await openReceiver((_, response) => void response.writeHead(status).end("Bearer s3cret is wrong"));
    const connection: ConnectionConfig = {
      name: "billing",
      kind: "http",
      config: { baseUrl: receiver.url, headers: { Authorization: "Bearer s3cret" } },
    };
    const outcomes = await createHttpWriter(createHttpClient({ allowedAddresses: ["127.0.0.1"] })).write(
      [group("x", 3, { batchSize: 1 }, connection)],
      testContext(),
    );
    expect(codes(outcomes)).toEqual(Array.from({ length: 3 }, () => expect.stringMatching(new RegExp(`^sink.unavailable: .* answers ${status}`))));
    expect(codes(outcomes).join()).not.toContain("s3cret");
    expect(receiver.received).toHaveLength(1);
  });

  it("keeps an echoed secret out of dead letters, wherever the answer is cut", async () => {
    const secret = "S3CR3T-TOKEN-abcdefghijklmnopqrstuvwxyz";
    await using receiver = await openReceiver((got, response) => {
      const filler = "x".repeat(Number(JSON.parse(got.body).id));
      response.writeHead(422).end(`${filler} token=${got.headers.authorization}`);
    });
    const connection: ConnectionConfig = {
      name: "billing",
      kind: "http",
      config: { baseUrl: receiver.url, headers: { Authorization: `Bearer ${secret}` } },
    };
    const outcomes = await createHttpWriter(createHttpClient({ allowedAddresses: ["127.0.0.1"] })).write(
      [group("x", 240, { format: "object" }, connection)],
      testContext(),
    );
    expect(outcomes.size).toBe(240);
    for (const said of codes(outcomes)) {
      expect(said).toMatch(/^sink.rejected: .* answers 422: x*/);
      for (let at = 0; at + 6 <= secret.length; at++) expect(said).not.toContain(secret.slice(at, at + 6));
    }
  });

  it("does not say whose fault a 500 is: the failed batch may be to blame, and what was not sent after it is not", async () => {
    await using receiver = await openReceiver((got, response) => void response.writeHead(got.body.includes('"id":3') ? 500 : 204).end("no threes"));
    const outcomes = await createHttpWriter(createHttpClient({ allowedAddresses: ["127.0.0.1"] })).write(
      [group(receiver.url, 7, { batchSize: 2 })],
      testContext(),
    );
    const unclear = { kind: "failed", code: "sink.unavailable", retryable: true, message: expect.stringMatching(/ answers 500: no threes$/) };
    expect([...outcomes.values()]).toEqual([
      { kind: "written" },
      { kind: "written" },
      { ...unclear, blame: "unclear" },
      { ...unclear, blame: "unclear" },
      { ...unclear, blame: "none" },
      { ...unclear, blame: "none" },
      { ...unclear, blame: "none" },
    ]);
    expect(receiver.received).toHaveLength(2);
  });

  it("leaves the rest for later when the call has no more time", async () => {
    await using receiver = await openReceiver((_, response) => void setTimeout(() => response.writeHead(204).end(), 60));
    const outcomes = await createHttpWriter(createHttpClient({ allowedAddresses: ["127.0.0.1"] }), { budgetMs: 250 }).write(
      [group(receiver.url, 20, { batchSize: 1 })],
      testContext(),
    );
    const written = codes(outcomes).filter((code) => code === "written").length;
    expect(written).toBeGreaterThan(0);
    expect(written).toBeLessThan(20);
    expect(codes(outcomes)).toHaveLength(20);
    expect(codes(outcomes).at(-1)).toMatch(/^sink.unavailable/);
  });

  it("waits no longer than its timeout", async () => {
    await using receiver = await openReceiver(() => undefined);
    const outcomes = await createHttpWriter(createHttpClient({ allowedAddresses: ["127.0.0.1"] })).write(
      [group(receiver.url, 1, { timeoutMs: 100 })],
      testContext(),
    );
    expect(codes(outcomes)[0]).toMatch(/^sink.unavailable: .*no answer within 100 ms/);
  });

  it("reads no more of an answer than it needs", async () => {
    let sent = 0;
    await using receiver = await openReceiver((_, response) => {
      response.writeHead(200);
      const pump = (): void => {
        for (let more = true; more && sent < 50_000_000 && !response.destroyed; sent += 65_536) more = response.write(Buffer.alloc(65_536));
        if (sent < 50_000_000 && !response.destroyed) response.once("drain", pump);
      };
      pump();
    });
    expect(
      codes(await createHttpWriter(createHttpClient({ allowedAddresses: ["127.0.0.1"] })).write([group(receiver.url, 1)], testContext())),
    ).toEqual(["written"]);
    expect(sent).toBeLessThan(50_000_000);
  });
});

describe("private addresses", () => {
  it("are refused as literals in every spelling, and as names", async () => {
    await using receiver = await openReceiver(ok);
    const writer = createHttpWriter(createHttpClient());
    for (const host of [
      "127.0.0.1",
      "localhost",
      "2130706433",
      "0x7f.1",
      "[::1]",
      "[::ffff:127.0.0.1]",
      "0.0.0.0",
      "169.254.169.254",
      "10.0.0.1",
      "[fd00::1]",
      "[64:ff9b::7f00:1]",
    ]) {
      expect(codes(await writer.write([group(`http://${host}:${receiver.port}/`, 1)], testContext()))[0]).toMatch(/private or local address/);
    }
    expect(receiver.received).toHaveLength(0);
  });

  it("are refused behind a redirect, and secrets stay at home", async () => {
    await using inner = await openReceiver(ok);
    await using outer = await openReceiver((_, response) => void response.writeHead(307, { location: `${inner.url}/latest/meta-data` }).end());
    // Only the name is allowed, so the literal it redirects to is not.
    const guarded = createHttpWriter(createHttpClient({ allowedAddresses: ["localhost"] }));
    expect(codes(await guarded.write([group(`http://localhost:${outer.port}/`, 1)], testContext()))[0]).toMatch(/private or local address/);
    expect(inner.received).toHaveLength(0);
    const connection: ConnectionConfig = {
      name: "billing",
      kind: "http",
      config: { baseUrl: outer.url, headers: { Authorization: "Bearer s3cret" } },
    };
    const open = createHttpWriter(createHttpClient({ allowedAddresses: ["127.0.0.1"] }));
    expect(codes(await open.write([group("x", 1, {}, connection)], testContext()))).toEqual(["written"]);
    expect(inner.received[0]).toMatchObject({ method: "POST", body: '[{"id":0,"big":12345678901234567890}]' });
    expect(inner.received[0]?.headers).not.toHaveProperty("authorization");
  });

  it("are told when a spec is checked", async () => {
    const sink = createHttpPost(createHttpClient());
    const check = (config: Record<string, string | number>) => sink.check({ config, tenant: "t", signal: new AbortController().signal });
    expect(await check({ url: "http://localhost/x" })).toMatchObject([{ pointer: "/url", code: "network.address_refused" }]);
    expect(await check({ url: "ftp://example.com", batchSize: 0, colour: "red" })).toMatchObject([
      { pointer: "/url" },
      { pointer: "/batchSize" },
      { pointer: "/colour" },
    ]);
    expect(await check({ url: "https://user:pw@example.com/" })).toMatchObject([{ pointer: "/url", detail: expect.stringMatching(/secret header/) }]);
    expect(await check({})).toMatchObject([{ pointer: "/url" }]);
  });

  it("are judged by range, host or CIDR", () => {
    const policy = createAddressPolicy(["10.20.0.0/16", "billing.internal", "fd00::/8"]);
    expect(["10.20.3.4", "10.21.0.1", "::ffff:10.20.3.4", "fd12::1", "8.8.8.8", "100.64.0.1", "nonsense"].map((a) => policy.allows(a, "x"))).toEqual([
      true,
      false,
      true,
      true,
      true,
      false,
      false,
    ]);
    expect(policy.allows("10.99.0.1", "Billing.Internal")).toBe(true);
  });
});
