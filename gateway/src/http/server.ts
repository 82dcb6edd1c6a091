/**
 * The HTTP server: bounded headers and bodies, deadlines against slow senders, hot routes by hand, the rest to the facade, a drain that answers everybody.
 * Invariants: every request gets exactly one answer or a closed connection; no error leaves but as problem+json; a drain stops accepting, closes idle
 * connections and ends when the last answer has gone, or at `drainTimeoutMs`.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type ErrorCode, OneDataError } from "@onedata/core";
import { sendProblem } from "./problem.ts";
import type { Caller, Facade, HotHandler, Log } from "./seam.ts";

export type HttpRoutes = {
  readonly capture: HotHandler;
  readonly imports: HotHandler;
  /** Undefined where Kong issues the tokens. */
  readonly token: ((request: IncomingMessage, response: ServerResponse) => Promise<void>) | undefined;
  readonly facade: Facade;
  readonly caller: (request: IncomingMessage) => Promise<Caller>;
  /** What must answer before traffic is welcome. */
  readonly checks: Readonly<Record<string, () => Promise<void>>>;
};

export type HttpOptions = {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
  readonly drainTimeoutMs: number;
  readonly log: Log;
};

export type HttpAddress = { readonly host: string; readonly port: number; readonly url: string };

export interface HttpServer {
  listen(): Promise<HttpAddress>;
  /** Stops accepting, lets requests in flight finish, closes the rest. */
  drain(): Promise<void>;
}

/** A request, imports included, may take this long; bodies of events have a shorter deadline of their own. */
const REQUEST_TIMEOUT_MS = 3_600_000;
const SLOW_BODY_MS = 30_000;
const CHECK_TIMEOUT_MS = 2_000;
const PIPELINES = "/v1/pipelines/";

export function createHttpServer(routes: HttpRoutes, { host, port, drainTimeoutMs, log }: HttpOptions): HttpServer {
  let draining = false;
  const slow = new SlowBodies();
  /** Each connection and the answer to its last request. */
  const connections = new Map<Socket, ServerResponse | undefined>();
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
      connections.set(request.socket, response);
      if (draining) response.setHeader("connection", "close");
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
  server.maxConnections = 10_000;
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
  server.on("connection", (socket: Socket) => {
    connections.set(socket, undefined);
    socket.on("close", () => connections.delete(socket));
  });

  function route(request: IncomingMessage, response: ServerResponse): void | Promise<void> {
    const url = request.url ?? "/";
    if (request.headers.host === undefined && request.httpVersion === "1.1")
      throw new OneDataError("request.malformed", "the header Host is missing");
    if (request.method === "POST" && url.startsWith(PIPELINES)) {
      const slash = url.indexOf("/", PIPELINES.length);
      if (slash > 0) {
        const question = url.indexOf("?", slash);
        const tail = url.slice(slash, question < 0 ? url.length : question);
        if (tail === "/events") {
          if (!request.complete) slow.watch(request, response);
          return routes.capture(request, response, url.slice(PIPELINES.length, slash));
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
    if (await routes.facade(request, response, caller)) return;
    throw new OneDataError("route.not_found", `no route ${request.method} ${path.slice(0, 200)}: see /docs`);
  }

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
          const bound = boundPort(server);
          resolve({ host, port: bound, url: `http://${host.includes(":") ? `[${host}]` : host === "0.0.0.0" ? "127.0.0.1" : host}:${bound}` });
        });
      }),
    drain: () => {
      draining = true;
      for (const [socket, response] of connections) {
        // Each answer that is still to come is its connection's last. A connection that never said anything does not count as idle for node.
        if (response !== undefined && !response.headersSent) response.setHeader("connection", "close");
        else if (response === undefined && socket.bytesRead === 0) socket.destroy();
      }
      return new Promise((resolve) => {
        // A connection that becomes idle after `close` was called (its last answer has gone) is not closed by it.
        const sweep = setInterval(() => server.closeIdleConnections(), 20);
        const deadline = setTimeout(() => server.closeAllConnections(), drainTimeoutMs);
        server.close(() => {
          clearInterval(sweep);
          clearTimeout(deadline);
          slow.stop();
          resolve();
        });
      });
    },
  };
}

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

/** Bodies that had not arrived with their headers, but for imports. One sweep a second for all of them: a timer per request would cost more than the check. */
class SlowBodies {
  readonly #deadlines = new Map<IncomingMessage, { readonly response: ServerResponse; readonly socket: Socket; readonly deadlineMs: number }>();
  #timer: NodeJS.Timeout | undefined;

  watch(request: IncomingMessage, response: ServerResponse): void {
    // The request forgets its socket when the connection is gone.
    this.#deadlines.set(request, { response, socket: request.socket, deadlineMs: Date.now() + SLOW_BODY_MS });
  }

  start(): void {
    this.#timer = setInterval(() => {
      const now = Date.now();
      for (const [request, { response, socket, deadlineMs }] of this.#deadlines) {
        if (request.complete || request.destroyed) this.#deadlines.delete(request);
        else if (deadlineMs < now) {
          this.#deadlines.delete(request);
          if (response.headersSent) socket.destroy();
          else socket.end(rawProblem(408, "request.timeout", `the body did not arrive within ${SLOW_BODY_MS / 1000} s`), () => socket.destroy());
        }
      }
    }, 1_000);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }
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

/** A whole answer, for where there is no response object, or none that could still be used. Closes the connection. */
function rawProblem(status: number, code: ErrorCode, detail: string): string {
  const body = JSON.stringify({ type: `/docs/errors#${code}`, title: STATUS_CODES[status], status, code, detail });
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`;
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
