/** The spans of requests as a collector gets them, whoever has read the request from its socket. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { OneDataError } from "@onedata/core";
import { openTelemetry, type Telemetry } from "@onedata/telemetry";
import { type OtlpReceiver, openOtlpReceiver } from "@onedata/telemetry/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createShares } from "../shares/shares.ts";
import { DirectExchange } from "./direct/direct-exchange.ts";
import type { Exchange } from "./exchange.ts";
import { nameRoute } from "./request-span.ts";
import { createHttpServer, type HttpServer } from "./server.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
const nobody = (): never => {
  throw new OneDataError("auth.unauthenticated", "The access token is missing");
};

let receiver: OtlpReceiver;
let telemetry: Telemetry;
let server: HttpServer;
let port: number;
/** What the capture route was handed, by the time it was. */
let captured: { readonly exchange: Exchange; readonly traceparent: unknown }[];

async function start(sampleRatio: number): Promise<void> {
  captured = [];
  receiver = await openOtlpReceiver();
  telemetry = await openTelemetry({ version: "1", endpoint: receiver.url, sampleRatio });
  server = createHttpServer(
    {
      capture(exchange, pipeline) {
        captured.push({ exchange, traceparent: exchange.headers["traceparent"] });
        if (pipeline === "broken") throw new OneDataError("store.unavailable", "password hunter2");
        if (pipeline !== "slow") exchange.send(202, { "content-length": 2 }, "{}");
      },
      imports: () => Promise.reject(new OneDataError("route.not_found", "no imports here")),
      token: undefined,
      facade(request, response) {
        nameRoute(request, "/v1/pipelines/{pipeline}");
        response.writeHead(200, { "content-length": 0 }).end();
        return Promise.resolve(true);
      },
      caller: () => Promise.resolve({ principal: undefined, demand: nobody }),
      calls: createShares().calls,
      checks: {},
    },
    { host: "127.0.0.1", port: 0, drainTimeoutMs: 1_000, log, tracing: telemetry.tracing("gateway") },
  );
  ({ port } = await server.listen());
}

beforeEach(() => start(1));
afterEach(async () => {
  await server.drain();
  await telemetry[Symbol.asyncDispose]();
  await receiver[Symbol.asyncDispose]();
});

const post = (path: string, headers = ""): string => `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n${headers}\r\n{}`;
const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;

/** Sends requests one after another over one connection; the answers' statuses. */
async function talk(...requests: readonly string[]): Promise<string[]> {
  const socket: Socket = connect(port, "127.0.0.1");
  const statuses: string[] = [];
  for (const request of requests) {
    socket.write(request);
    const [chunk]: unknown[] = await once(socket, "data");
    statuses.push(String(chunk).slice(9, 12));
  }
  socket.end();
  await once(socket, "close");
  return statuses;
}

async function spans() {
  // Each answer has ended its span before its connection closed, but for node's, which ends it a turn later.
  await new Promise((resolve) => setImmediate(resolve));
  await telemetry[Symbol.asyncDispose]();
  return receiver.spans.map(({ name, attributes, status }) => ({
    name,
    status,
    code: attributes["http.response.status_code"],
    error: attributes["error.type"],
  }));
}

const EVENTS = "/v1/pipelines/{pipeline}/events";

describe("spans of requests", () => {
  it("are the same for a direct connection and for node's", async () => {
    expect(await talk(post("/v1/pipelines/a/events"))).toEqual(["202"]);
    // A connection that began with something else is node's.
    expect(await talk(get("/healthz"), post("/v1/pipelines/a/events"))).toEqual(["200", "202"]);
    expect(captured.map(({ exchange }) => exchange instanceof DirectExchange)).toEqual([true, false]);
    const one = { name: `POST ${EVENTS}`, status: "unset", code: 202, error: undefined };
    expect(await spans()).toEqual([one, one]);
    const [first, second] = receiver.spans;
    expect(first?.attributes).toEqual(second?.attributes);
    expect(captured.map(({ traceparent }) => traceparent)).toEqual(receiver.spans.map(({ traceId, spanId }) => `00-${traceId}-${spanId}-01`));
  });

  it.each(["direct", "node's"])("carry on from the caller's, or let its decision against them stand (%s)", async (whose) => {
    const before = whose === "direct" ? [] : [get("/healthz")];
    await talk(...before, post("/v1/pipelines/a/events", `traceparent: 00-${TRACE}-b7ad6b7169203331-00\r\n`));
    await talk(...before, post("/v1/pipelines/a/events", `traceparent: 00-${TRACE}-b7ad6b7169203331-01\r\n`));
    await spans();
    expect(receiver.spans).toMatchObject([{ traceId: TRACE, parentSpanId: "b7ad6b7169203331" }]);
    expect(captured.map(({ traceparent }) => traceparent)).toEqual([
      `00-${TRACE}-b7ad6b7169203331-00`,
      `00-${TRACE}-${receiver.spans[0]?.spanId}-01`,
    ]);
  });

  it.each(["direct", "node's"])("tell what failed by its status, and who went away (%s)", async (whose) => {
    const before = whose === "direct" ? [] : [get("/healthz")];
    expect((await talk(...before, post("/v1/pipelines/broken/events"))).at(-1)).toBe("503");
    const socket = connect(port, "127.0.0.1");
    for (const request of before) {
      socket.write(request);
      await once(socket, "data");
    }
    socket.write(post("/v1/pipelines/slow/events"));
    await expect.poll(() => captured.length).toBe(2);
    const ended = new Promise<void>((resolve) => captured[1]?.exchange.onClose(resolve));
    socket.resetAndDestroy();
    await ended;
    expect(await spans()).toEqual([
      { name: `POST ${EVENTS}`, status: "error", code: 503, error: "503" },
      { name: `POST ${EVENTS}`, status: "unset", code: undefined, error: "aborted" },
    ]);
    expect(Buffer.concat(receiver.bodies).includes("hunter2")).toBe(false);
  });

  it("are named by whoever finds the route, and never hold a query", async () => {
    await talk(get("/v1/pipelines/orders?token=hunter2"), get("/healthz"), get("/docs"));
    expect(await spans()).toEqual([{ name: "GET /v1/pipelines/{pipeline}", status: "unset", code: 200, error: undefined }]);
    expect(receiver.spans[0]?.attributes).toMatchObject({ "url.path": "/v1/pipelines/orders", "http.route": "/v1/pipelines/{pipeline}" });
    expect(Buffer.concat(receiver.bodies).includes("hunter2")).toBe(false);
  });
});
