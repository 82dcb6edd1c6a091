/**
 * One request of the capture route and the way back, whoever read it from the socket: node's HTTP server (`node-exchange.ts`), or a direct connection (`direct/`).
 */
import type { IncomingHttpHeaders } from "node:http";
import type { OnBody } from "./body.ts";

export type AnswerHeaders = Readonly<Record<string, string | number>>;

export interface Exchange {
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  /** The connection is gone: nobody would read an answer. */
  readonly isGone: boolean;
  /** The body, once, at most `maxBytes`. `grow` is told of each piece before it is kept; what it throws refuses the body. */
  readBody(maxBytes: number, done: OnBody, grow: (bytes: number) => void): void;
  /** `body` is counted in bytes of UTF-8 by the caller's `content-length`. */
  send(status: number, headers: AnswerHeaders, body: string): void;
  /** Answers with the problem; a connection that was answered already is cut. */
  fail(error: unknown): void;
  /** Told once: the answer has left, or the connection is gone. */
  onClose(listener: () => void): void;
}
