/**
 * Holds direct connections against node's HTTP server: the same bytes, cut anywhere, get the same answers from both. The reference connection begins with
 * another request, so that node reads it from there on.
 */
import { once } from "node:events";
import { connect } from "node:net";
import { OneDataError } from "@onedata/core";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createShares } from "../../shares/shares.ts";
import type { Exchange } from "../exchange.ts";
import { createHttpServer, type HttpServer } from "../server.ts";
import { DirectExchange } from "./direct-exchange.ts";

const LOOKED_AT = ["authorization", "content-type", "content-encoding", "idempotency-key", "traceparent", "prefer", "x-consumer-id"];
const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
let server: HttpServer;
let port = 0;
let readDirectly = 0;

/** Answers with what it was given, now or later, or with a refusal. */
function capture(exchange: Exchange, pipeline: string): void {
  if (exchange instanceof DirectExchange) readDirectly += 1;
  const { headers, url } = exchange;
  if (headers["authorization"] === "Bearer nobody") throw new OneDataError("auth.unauthenticated", "The access token is missing");
  exchange.readBody(
    50,
    (error, body) => {
      if (error !== undefined) return exchange.fail(error);
      const text = JSON.stringify({ url, pipeline, headers: LOOKED_AT.map((name) => headers[name] ?? null), body: body.toString("base64") });
      const answer = (): void => exchange.send(202, { "content-type": "application/json", "content-length": Buffer.byteLength(text) }, text);
      if (body.length % 2 === 0) answer();
      else setImmediate(answer);
    },
    () => undefined,
  );
}

beforeAll(async () => {
  const demand = (): never => {
    throw new OneDataError("auth.unauthenticated", "The access token is missing");
  };
  server = createHttpServer(
    {
      capture,
      imports: () => Promise.reject(new OneDataError("route.not_found", "no imports here")),
      token: undefined,
      facade: () => Promise.resolve(false),
      caller: () => Promise.resolve({ principal: undefined, demand }),
      calls: createShares().calls,
      checks: {},
    },
    { host: "127.0.0.1", port: 0, drainTimeoutMs: 1_000, log },
  );
  ({ port } = await server.listen());
});
afterAll(() => server.drain());

const word = fc.constantFrom("a", "orders", "o.r-d_e~r", "x".repeat(60));
const value = fc.oneof(
  fc.constantFrom("", "1", "a b", "Bearer abc", "Bearer nobody", "wait=0", "text/plain; charset=utf-8"),
  fc.string({ maxLength: 12 }).map((text) => text.replaceAll(/[^\x20-\x7e]/g, "_")),
);
const plainHeader = fc
  .tuple(fc.constantFrom("authorization", "Content-Type", "X-Other", "Idempotency-Key", "traceparent", "accept", "X-Consumer-Id"), value)
  .map(([name, text]) => `${name}: ${text}`);
const oddHeader = fc.constantFrom(
  "Connection: keep-alive",
  "connection: Keep-Alive",
  "Connection: close",
  "Expect: 100-continue",
  "Upgrade: h2c",
  "TE: trailers",
  "X-Empty:",
  "X-Tabs:\t a \t",
  "X-Colon: a:b:c",
  "Keep-Alive: timeout=5",
  "Prefer: wait=1",
  "Bad Name: 1",
  " folded: 1",
  "No-Colon",
  "X-Space : 1",
  "X-Obs: \u00e9",
  "X-Nul: a\u0000b",
  "X-Cr: a\rb",
  ": empty",
  "Host: again",
  "authorization: a\r\nauthorization: b",
  "Idempotency-Key: a\r\nidempotency-key: b",
);
const oddLine = fc.constantFrom(
  "GET /healthz HTTP/1.1",
  "POST /v1/pipelines/a/events?x=1 HTTP/1.1",
  "POST /v1/pipelines/%61/events HTTP/1.1",
  "POST /v1/pipelines/a/events",
  "POST /v1/pipelines/a/b/events HTTP/1.1",
  "POST /v1/pipelines//events HTTP/1.1",
  "POST /v1/pipelines/a/events HTTP/1.0",
  "POST  /v1/pipelines/a/events HTTP/1.1",
  "POST http://x/v1/pipelines/a/events HTTP/1.1",
  "post /v1/pipelines/a/events HTTP/1.1",
);
const plainLine = word.map((name) => `POST /v1/pipelines/${name}/events HTTP/1.1`);
const mostly = <T>(usual: fc.Arbitrary<T>, odd: fc.Arbitrary<T>, weight = 6): fc.Arbitrary<T> =>
  fc.oneof({ weight, arbitrary: usual }, { weight: 1, arbitrary: odd });

type Parts = {
  readonly line: string;
  readonly host: string;
  readonly headers: string[];
  readonly framing: string;
  readonly body: Uint8Array;
  readonly eol: string;
};

function toRequest({ line, host, headers, framing, body, eol }: Parts): Buffer {
  const length = body.length;
  const plain = Buffer.from(body).toString("latin1");
  const chunked = length === 0 ? "0\r\n\r\n" : `${length.toString(16)}\r\n${plain}\r\n0\r\n\r\n`;
  const frames: Record<string, readonly [string[], string]> = {
    exact: [[`Content-Length: ${length}`], plain],
    missing: [[], ""],
    twice: [[`Content-Length: ${length}`, `content-length: ${length}`], plain],
    list: [[`Content-Length: ${length}, ${length}`], plain],
    signed: [[`Content-Length: +${length}`], plain],
    padded: [[`Content-Length: 00${length}`], plain],
    chunked: [["Transfer-Encoding: chunked"], chunked],
    both: [["Transfer-Encoding: chunked", `Content-Length: ${length}`], chunked],
    coded: [["Transfer-Encoding: gzip, chunked"], chunked],
    hex: [[`Content-Length: 0x${length}`], plain],
    negative: [[`Content-Length: -${length}`], plain],
  };
  const [lines, content] = frames[framing] ?? [[], ""];
  return Buffer.from([line, host, ...headers, ...lines].filter((each) => each !== "").join(eol) + eol + eol + content, "latin1");
}

const body = fc.uint8Array({ maxLength: 60 });
const plainRequest = fc
  .record({
    line: plainLine,
    host: fc.constant("Host: x"),
    headers: fc.array(plainHeader, { maxLength: 4 }),
    framing: fc.constant("exact"),
    body,
    eol: fc.constant("\r\n"),
  })
  .map(toRequest);
const anyRequest = fc
  .record({
    line: mostly(plainLine, oddLine),
    host: mostly(fc.constant("Host: x"), fc.constantFrom("", "host:", "Host: x\r\nHost: y")),
    headers: fc.array(mostly(plainHeader, oddHeader, 2), { maxLength: 4 }),
    framing: mostly(
      fc.constant("exact"),
      fc.constantFrom("missing", "twice", "list", "signed", "padded", "chunked", "both", "coded", "hex", "negative"),
    ),
    body,
    eol: mostly(fc.constant("\r\n"), fc.constant("\n"), 15),
  })
  .map(toRequest);

/** Bytes, where they are cut, and how many answers they get before the next ones are sent: node drops answers under way when it meets what is no HTTP. */
type Turn = { readonly bytes: Buffer; readonly cuts: readonly number[]; readonly answers: number };

const BY_NODE: Turn = { bytes: Buffer.from("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), cuts: [], answers: 1 };
const LAST: Turn = {
  bytes: Buffer.from("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
  cuts: [],
  answers: Number.POSITIVE_INFINITY,
};
const cuts = fc.array(fc.nat(), { maxLength: 4 });
const turns = fc
  .tuple(fc.array(fc.tuple(fc.array(plainRequest, { minLength: 1, maxLength: 4 }), cuts), { maxLength: 2 }), anyRequest, cuts)
  .map(([batches, last, lastCuts]): Turn[] => [
    ...batches.map(([requests, own]) => ({ bytes: Buffer.concat(requests), cuts: own, answers: requests.length })),
    { bytes: last, cuts: lastCuts, answers: 1 },
    LAST,
  ]);

type Transcript = { readonly answers: readonly string[]; readonly ended: boolean };

async function talk(list: readonly Turn[]): Promise<Transcript> {
  const socket = connect(port, "127.0.0.1");
  socket.setNoDelay(true).on("error", () => undefined);
  const chunks: Buffer[] = [];
  let ended = false;
  let came = (): void => undefined;
  socket.on("data", (chunk: Buffer) => {
    chunks.push(chunk);
    came();
  });
  socket.on("close", () => {
    ended = true;
    came();
  });
  await once(socket, "connect");
  const answers = (): string[] => toAnswers(Buffer.concat(chunks).toString("utf8"));
  let expected = 0;
  for (const turn of list) {
    expected += turn.answers;
    for (const piece of toPieces(turn)) {
      if (socket.writable) socket.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    while (!ended && answers().length < expected) await new Promise<void>((resolve) => (came = resolve));
  }
  socket.destroy();
  return { answers: answers(), ended };
}

function toPieces({ bytes, cuts: wanted }: Turn): Buffer[] {
  const at = [...new Set(wanted.map((cut) => cut % bytes.length))].sort((a, b) => a - b);
  return [...at, bytes.length].map((end, i) => bytes.subarray(at[i - 1] ?? 0, end));
}

/** Without what may differ: dates, and the wording of what is no HTTP. */
const toAnswers = (text: string): string[] =>
  text
    .split(/(?=HTTP\/1\.1 \d{3} )/)
    .filter((part) => part !== "" && !part.startsWith("HTTP/1.1 100 "))
    .map((part) =>
      part
        .replace(/\r\nDate: [^\r]*/i, "")
        .replace(/"detail":"[^"]*"/, '"detail":…')
        .replace(/content-length: \d+/i, "content-length: …"),
    );

it("reads what node reads, whatever is sent and however it is cut", async () => {
  await fc.assert(
    fc.asyncProperty(turns, async (list) => {
      const { answers, ended } = await talk([BY_NODE, ...list]);
      const sent = list.map(({ bytes }) => JSON.stringify(bytes.toString("latin1"))).join("\n");
      expect(await talk(list), sent).toEqual({ answers: answers.slice(1), ended });
    }),
    { numRuns: 150 },
  );
  // Else nothing was compared.
  expect(readDirectly).toBeGreaterThan(150);
});
