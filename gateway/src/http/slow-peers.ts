/**
 * What keeps slow, silent and unreading peers from holding what others need.
 * Invariants: a body that dribbles, an answer that nobody reads and a connection that says nothing each end; what a tenant's calls hold is counted until their
 * answers have left.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { TenantId } from "@onedata/core";
import type { Share } from "../shares/share.ts";
import { CALL_BYTES } from "../shares/shares.ts";
import { rawProblem } from "./raw-problem.ts";

/** The answer to a connection's last request. */
export interface UnderWay {
  readonly closed: boolean;
  readonly headersSent: boolean;
  /** It is the connection's last one. */
  closeAfter(): void;
}

const SLOW_BODY_MS = 30_000;
/** An answer of which nothing leaves for so long: nobody reads it. The largest takes less at 35 kB/s. */
const UNREAD_MS = 120_000;
const UNREAD_SWEEP_MS = 5_000;
const MAX_LOOKED_AT = 200;
const MAX_DECLARED_BYTES = 4 * 1024 * 1024;

/** Bodies that had not arrived with their headers, but for imports. One sweep a second for all of them: a timer per request would cost more than the check. */
export class SlowBodies {
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

/** Counts a call in, and out when its answer has left. The function it returns adds what of the answer is still to be read. */
export function holdCall(calls: Share, tenantId: TenantId, request: IncomingMessage, response: ServerResponse): (bytes: number) => void {
  let held = CALL_BYTES + Math.min(MAX_DECLARED_BYTES, Number(request.headers["content-length"] ?? 0) || 0);
  if (response.closed) return () => undefined;
  calls.take(tenantId, held);
  let isOver = false;
  response.once("close", () => {
    isOver = true;
    calls.give(tenantId, held);
  });
  return (bytes) => {
    if (isOver) return;
    held += bytes;
    calls.charge(tenantId, bytes);
  };
}

/** Closes one connection with nothing under way, of those that have been silent for longest. */
export function closeIdle(connections: Map<Socket, UnderWay | undefined>): void {
  let looked = 0;
  for (const [socket, underWay] of connections) {
    if (underWay === undefined || underWay.closed) {
      connections.delete(socket);
      socket.destroy();
      return;
    }
    if (++looked === MAX_LOOKED_AT) return;
  }
}

/** Answers that their callers do not read: their connections are cut, and what they hold is free again. */
export class UnreadAnswers {
  readonly #connections: ReadonlyMap<Socket, unknown>;
  readonly #stuck = new Map<Socket, { readonly left: number; readonly sinceMs: number }>();
  #timer: NodeJS.Timeout | undefined;

  constructor(connections: ReadonlyMap<Socket, unknown>) {
    this.#connections = connections;
  }

  start(): void {
    this.#timer = setInterval(() => {
      const now = Date.now();
      for (const socket of this.#stuck.keys()) if (!this.#connections.has(socket)) this.#stuck.delete(socket);
      for (const socket of this.#connections.keys()) {
        const left = socket.writableLength;
        const before = this.#stuck.get(socket);
        if (left === 0) this.#stuck.delete(socket);
        else if (before?.left !== left) this.#stuck.set(socket, { left, sinceMs: now });
        else if (now - before.sinceMs > UNREAD_MS) socket.destroy();
      }
    }, UNREAD_SWEEP_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
