/** One captured event's request on a direct connection, and its answer. Written in one piece, as node's server would write it. */
import { type IncomingHttpHeaders, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { OneDataError } from "@onedata/core";
import { type OnBody, tooLarge } from "../body.ts";
import type { AnswerHeaders, Exchange } from "../exchange.ts";
import { toProblemAnswer } from "../problem.ts";
import type { RequestSpan } from "../request-span.ts";
import type { Log } from "../seam.ts";
import type { EventHead } from "./event-head.ts";

export type DirectPorts = {
  readonly log: Log;
  /** Now, as the header `Date` has it. */
  readonly date: () => string;
  /** The answer was written; `last`: and the connection with it. */
  readonly answered: (last: boolean) => void;
};

const KEEP_ALIVE = "Connection: keep-alive\r\nKeep-Alive: timeout=65\r\n\r\n";
const CLOSE = "Connection: close\r\n\r\n";
const EMPTY = Buffer.alloc(0);
const NOT_IN_A_HEADER = /[^\t\x20-\x7e]/g;

export class DirectExchange implements Exchange {
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  /** Where the request is in a kept trace. */
  span: RequestSpan | undefined;
  readonly #socket: Socket;
  readonly #body: Buffer;
  readonly #ports: DirectPorts;
  #listeners: (() => void)[] = [];
  #isAnswered = false;
  #isLast = false;
  #isOver = false;

  constructor(socket: Socket, head: EventHead, body: Buffer, ports: DirectPorts) {
    this.url = head.url;
    this.headers = head.headers;
    this.#socket = socket;
    this.#body = body;
    this.#ports = ports;
  }

  get isGone(): boolean {
    return this.#socket.destroyed;
  }

  /** With the next two, what the server asks of an answer, whoever gives it. */
  get closed(): boolean {
    return this.#isOver;
  }

  get headersSent(): boolean {
    return this.#isAnswered;
  }

  closeAfter(): void {
    this.#isLast = true;
  }

  readBody(maxBytes: number, done: OnBody, grow: (bytes: number) => void): void {
    if (this.#body.length > maxBytes) return done(tooLarge(maxBytes, `announces ${this.#body.length}`), EMPTY);
    try {
      grow(this.#body.length);
    } catch (error) {
      return done(OneDataError.from(error), EMPTY);
    }
    done(undefined, this.#body);
  }

  send(status: number, headers: AnswerHeaders, body: string): void {
    if (this.#isAnswered) return void this.#socket.destroy();
    this.#isAnswered = true;
    if (this.#socket.destroyed) return;
    this.span?.end(status);
    let text = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n`;
    for (const name in headers) text += `${name}: ${String(headers[name]).replace(NOT_IN_A_HEADER, "?")}\r\n`;
    text += `Date: ${this.#ports.date()}\r\n${this.#isLast ? CLOSE : KEEP_ALIVE}${body}`;
    if (this.#isLast) this.#socket.end(text);
    else this.#socket.write(text);
    this.settle();
    this.#ports.answered(this.#isLast);
  }

  fail(error: unknown): void {
    const { status, headers, body } = toProblemAnswer(error, this.#ports.log);
    this.send(status, headers, body);
  }

  onClose(listener: () => void): void {
    if (this.#isOver) listener();
    else this.#listeners.push(listener);
  }

  /** Tells those who wait for the end, when the answer has left or the connection is gone. Returns whether it has ended. */
  settle(): boolean {
    if (this.#isOver) return true;
    if (!this.#socket.destroyed && !(this.#isAnswered && this.#socket.writableLength === 0)) return false;
    this.#isOver = true;
    this.span?.end(undefined);
    for (const listener of this.#listeners) listener();
    this.#listeners = [];
    return true;
  }
}
