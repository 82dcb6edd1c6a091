/**
 * The HTTP server: bounded headers and bodies, deadlines against slow senders, hot routes by hand, the rest to the facade, a drain that answers everybody.
 * Connections begin as direct ones (`direct/`) and become node's with the first request that is no plain event.
 * Against many slow or silent ones: what a tenant holds is counted (`calls`, and the hot routes' own shares); an answer that nobody reads is given up; when
 * connections run out, those make room that have nothing under way.
 * Invariants: every request gets exactly one answer or a closed connection; no error leaves but as problem+json; a drain stops accepting, closes idle
 * connections and ends when the last answer has gone, or at `drainTimeoutMs`.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { OneDataError } from "@onedata/core";
import type { Tracing } from "@onedata/telemetry";
import { repeatedKey } from "../capture/capture-route.ts";
import type { Share } from "../shares/share.ts";
import { DirectConnections } from "./direct/direct-connections.ts";
import { toExchange } from "./node-exchange.ts";
import { sendProblem } from "./problem.ts";
import { rawProblem } from "./raw-problem.ts";
import { traceRequest } from "./request-span.ts";
import type { Caller, CaptureHandler, Facade, ImportHandler, Log } from "./seam.ts";
import { closeIdle, holdCall, SlowBodies, type UnderWay, UnreadAnswers } from "./slow-peers.ts";

export type HttpRoutes = {
  readonly capture: CaptureHandler;
  readonly imports: ImportHandler;
  /** Undefined where Kong issues the tokens. */
  readonly token: ((request: IncomingMessage, response: ServerResponse) => Promise<void>) | undefined;
  readonly facade: Facade;
  readonly caller: (request: IncomingMessage) => Promise<Caller>;
  /** Bytes of calls in flight, hot routes apart. */
  readonly calls: Share;
  /** What must answer before traffic is welcome. */
  readonly checks: Readonly<Record<string, () => Promise<void>>>;
};

export type HttpOptions = {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
  readonly drainTimeoutMs: number;
  readonly log: Log;
  /** Undefined: no request has a span. */
  readonly tracing?: Tracing | undefined;
};

export type HttpAddress = { readonly host: string; readonly port: number; readonly url: string };

export interface HttpServer {
  listen(): Promise<HttpAddress>;
  /** Stops accepting, lets requests in flight finish, closes the rest. */
  drain(): Promise<void>;
}

/** A request, imports included, may take this long; bodies of events have a shorter deadline of their own. */
const REQUEST_TIMEOUT_MS = 3_600_000;
const CHECK_TIMEOUT_MS = 2_000;
const MAX_CONNECTIONS = 10_000;
/** From here on idle ones are closed, the longest silent first. */
const CROWDED_CONNECTIONS = 9_000;
const PIPELINES = "/v1/pipelines/";

export function createHttpServer(routes: HttpRoutes, { host, port, drainTimeoutMs, log, tracing }: HttpOptions): HttpServer {
  let draining = false;
  const slow = new SlowBodies();
  /** Each connection and the answer to its last request. */
  const connections = new Map<Socket, UnderWay | undefined>();
  /** To the end of the list: its beginning are those that have been silent for longest. */
  const began = (socket: Socket, underWay: UnderWay): void => {
    connections.delete(socket);
    connections.set(socket, underWay);
  };
  const server = createServer(
    {
      maxHeaderSize: 16 * 1024,
      headersTimeout: 10_000,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: 65_000,
      connectionsCheckingInterval: 2_000,
      // Node's own refusal has no body; `route` looks instead.
      requireHostHeader: false,
    },
    (request, response) => {
      began(request.socket, toUnderWay(response));
      if (draining) response.setHeader("connection", "close");
      if (tracing !== undefined) traceRequest(tracing, request, response);
      let answer: void | Promise<void>;
      try {
        answer = route(request, response);
      } catch (error) {
        sendProblem(response, error, log);
        return;
      }
      if (answer !== undefined) answer.catch((error: unknown) => sendProblem(response, error, log));
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.on("clientError", answerClientError);
  server.on("checkExpectation", (request: IncomingMessage, response: ServerResponse) => {
    sendProblem(response, new OneDataError("request.malformed", "only Expect: 100-continue is understood: leave the header out"), log);
    request.resume();
  });
  // Without a listener node cuts the connection and says nothing.
  server.on("connect", (_request: IncomingMessage, socket: Duplex) => {
    socket.on("error", () => undefined);
    socket.end(rawProblem(405, "route.method_not_allowed", "this is no proxy: CONNECT is not taken"));
  });
  const toNode = server.listeners("connection");
  server.removeAllListeners("connection");
  const direct = new DirectConnections({
    capture: routes.capture,
    log,
    tracing,
    began,
    handOver(socket, rest) {
      // Paused, so that what is put back flows when node has begun to listen.
      socket.pause();
      if (rest.length > 0) socket.unshift(rest);
      for (const listener of toNode) listener.call(server, socket);
      socket.resume();
    },
  });
  server.on("connection", (socket: Socket) => {
    if (connections.size >= CROWDED_CONNECTIONS) closeIdle(connections);
    connections.set(socket, undefined);
    socket.on("close", () => connections.delete(socket));
    direct.take(socket);
  });

  function route(request: IncomingMessage, response: ServerResponse): void | Promise<void> {
    const url = request.url ?? "/";
    if (request.headers.host === undefined && request.httpVersion === "1.1")
      throw new OneDataError("request.malformed", "the header Host is missing");
    refuseCodings(request.headers["transfer-encoding"]);
    if (request.headers["idempotency-key"] !== undefined && request.headersDistinct["idempotency-key"]?.length !== 1) throw repeatedKey();
    if (request.method === "POST" && url.startsWith(PIPELINES)) {
      const slash = url.indexOf("/", PIPELINES.length);
      if (slash > 0) {
        const question = url.indexOf("?", slash);
        const tail = url.slice(slash, question < 0 ? url.length : question);
        if (tail === "/events") {
          if (!request.complete) slow.watch(request, response);
          return routes.capture(toExchange(request, response, log), url.slice(PIPELINES.length, slash));
        }
        if (tail === "/imports") return routes.imports(request, response, url.slice(PIPELINES.length, slash));
      }
    }
    return other(request, response, url);
  }

  async function other(request: IncomingMessage, response: ServerResponse, url: string): Promise<void> {
    // Everything but imports is small: who dribbles it is cut off, whether signed in or not.
    if (!request.complete) slow.watch(request, response);
    const path = url.split("?", 1)[0] ?? "/";
    if (path === "/healthz") return sendJson(response, 200, { status: "ok" });
    if (path === "/readyz") return answerReady(response);
    if (routes.token !== undefined && (path === "/oauth2/token" || path === "/oauth2/token/")) return routes.token(request, response);
    const caller = await routes.caller(request);
    const hold = caller.principal === undefined ? undefined : holdCall(routes.calls, caller.principal.tenantId, request, response);
    if (await routes.facade(request, response, caller)) {
      hold?.(response.writableLength);
      return;
    }
    throw new OneDataError("route.not_found", `no route ${request.method} ${path.slice(0, 200)}: see /docs`);
  }

  const unread = new UnreadAnswers(connections);

  async function answerReady(response: ServerResponse): Promise<void> {
    const results = await Promise.all(
      Object.entries(routes.checks).map(async ([name, check]): Promise<[string, string]> => {
        try {
          await withTimeout(check(), CHECK_TIMEOUT_MS);
          return [name, "ok"];
        } catch (error) {
          log.warn("a readiness check failed", { check: name, error });
          return [name, "unreachable"];
        }
      }),
    );
    const ready = !draining && results.every(([, result]) => result === "ok");
    sendJson(response, ready ? 200 : 503, { status: draining ? "draining" : ready ? "ready" : "not ready", checks: Object.fromEntries(results) });
  }

  return {
    listen: () =>
      new Promise((resolve, reject) => {
        server.once("error", (cause) => reject(explainListen(cause, host, port)));
        server.listen(port, host, () => {
          server.removeAllListeners("error");
          server.on("error", (error) => log.error("http server", { error }));
          slow.start();
          unread.start();
          direct.start();
          const bound = boundPort(server);
          resolve({ host, port: bound, url: `http://${host.includes(":") ? `[${host}]` : host === "0.0.0.0" ? "127.0.0.1" : host}:${bound}` });
        });
      }),
    drain: () => {
      draining = true;
      direct.drain();
      for (const [socket, underWay] of connections) {
        // Each answer that is still to come is its connection's last. A connection that never said anything does not count as idle for node.
        if (underWay !== undefined && !underWay.headersSent) underWay.closeAfter();
        else if (underWay === undefined && socket.bytesRead === 0) socket.destroy();
      }
      return new Promise((resolve) => {
        // A connection that becomes idle after `close` was called (its last answer has gone) is not closed by it.
        const sweep = setInterval(() => server.closeIdleConnections(), 20);
        const deadline = setTimeout(() => {
          for (const socket of connections.keys()) socket.destroy();
        }, drainTimeoutMs);
        server.close(() => {
          clearInterval(sweep);
          clearTimeout(deadline);
          slow.stop();
          unread.stop();
          direct.stop();
          resolve();
        });
      });
    },
  };
}

/** Node takes the chunks apart and leaves every other coding on the body (RFC 9112, 6.1). */
function refuseCodings(transferEncoding: string | undefined): void {
  if (transferEncoding === undefined || transferEncoding.trim().toLowerCase() === "chunked") return;
  throw new OneDataError(
    "request.malformed",
    `Transfer-Encoding ${JSON.stringify(transferEncoding.slice(0, 40))} is not understood: send chunked alone; an import may have Content-Encoding: gzip`,
  );
}

const toUnderWay = (response: ServerResponse): UnderWay => ({
  get closed() {
    return response.closed;
  },
  get headersSent() {
    return response.headersSent;
  },
  closeAfter: () => void response.setHeader("connection", "close"),
});

/** What the person at the terminal can do about it. */
function explainListen(cause: NodeJS.ErrnoException, host: string, port: number): Error {
  const at = `${host}:${port}`;
  if (cause.code === "EADDRINUSE")
    return new OneDataError(
      "config.problems",
      `another program listens on ${at}: stop it, or set ONEDATA_PORT to another port; 0 takes any free one`,
      { cause },
    );
  if (cause.code === "EACCES")
    return new OneDataError("config.problems", `this user may not listen on ${at}: set ONEDATA_PORT to a port from 1024; 0 takes any free one`, {
      cause,
    });
  return cause;
}

function boundPort(server: Server): number {
  const address: AddressInfo | string | null = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  const body = JSON.stringify(value);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  response.end(body);
}

/** What is no HTTP at all: the parser has no response object, so the answer is written by hand. */
function answerClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const status = error.code === "HPE_HEADER_OVERFLOW" ? 431 : error.code === "ERR_HTTP_REQUEST_TIMEOUT" ? 408 : 400;
  const code = status === 408 ? "request.timeout" : "request.malformed";
  const detail =
    status === 431 ? "the headers are larger than 16 KiB" : status === 408 ? "the request did not arrive in time" : "this is not HTTP/1.1";
  socket.end(rawProblem(status, code, detail));
}

async function withTimeout(work: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
