/**
 * Connections whose bytes are read without node's HTTP server, as long as they carry nothing but plain single events: it costs 40 of the 60 us that a request
 * costs there (docs/adr/0032). The first byte of anything else gives the connection, with all that was not answered yet, to node for good.
 *
 * Duty: take requests apart and answer them in order, one at a time per connection. Non-duty: refusing what is malformed, slow or large (node does).
 * Invariants:
 * 1. Whether node or this reads a request, it means the same and gets the same answer (a property test holds both against each other).
 * 2. A connection holds at most `MAX_HELD_BYTES` that are not in a request's share; who sends more ahead is not read meanwhile.
 * 3. Half a request lasts no longer than two sweeps here, a silent newcomer no longer than two: node has deadlines for both. An idle connection ends after 65 s.
 */
import type { Socket } from "node:net";
import type { Tracing } from "@onedata/telemetry";
import { rawProblem } from "../raw-problem.ts";
import { beginRequest } from "../request-span.ts";
import type { CaptureHandler, Log } from "../seam.ts";
import { DirectExchange, type DirectPorts } from "./direct-exchange.ts";
import { type EventHead, FOREIGN, INCOMPLETE, readEventHead } from "./event-head.ts";

export type DirectOptions = {
  readonly capture: CaptureHandler;
  readonly log: Log;
  /** Undefined: no request has a span. */
  readonly tracing?: Tracing | undefined;
  /** Gives a socket, with `rest` yet to be read, to node's HTTP server. */
  readonly handOver: (socket: Socket, rest: Buffer) => void;
  /** Told of each request that begins. */
  readonly began: (socket: Socket, exchange: DirectExchange) => void;
};

const SWEEP_MS = 1_000;
const IDLE_SWEEPS = 65;
const MAX_HELD_BYTES = 16 * 1024;
const EMPTY = Buffer.alloc(0);

export class DirectConnections {
  readonly #options: DirectOptions;
  readonly #open = new Set<DirectConnection>();
  #timer: NodeJS.Timeout | undefined;
  #sweeps = 0;
  #date = "";
  #isDraining = false;

  constructor(options: DirectOptions) {
    this.#options = options;
  }

  take(socket: Socket): void {
    const connection = new DirectConnection(socket, {
      ...this.#options,
      sweeps: () => this.#sweeps,
      date: () => (this.#date === "" ? (this.#date = new Date().toUTCString()) : this.#date),
      left: () => void this.#open.delete(connection),
      isDraining: () => this.#isDraining,
    });
    this.#open.add(connection);
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#sweeps += 1;
      this.#date = "";
      for (const connection of this.#open) connection.sweep();
    }, SWEEP_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Every answer that is still to come is its connection's last, idle ones end, halves of requests are node's. */
  drain(): void {
    this.#isDraining = true;
    for (const connection of this.#open) connection.drain();
  }
}

type ConnectionPorts = DirectOptions & {
  /** Counts on once a second. */
  readonly sweeps: () => number;
  readonly date: () => string;
  readonly left: () => void;
  readonly isDraining: () => boolean;
};

class DirectConnection {
  readonly #socket: Socket;
  readonly #ports: ConnectionPorts;
  readonly #exchangePorts: DirectPorts;
  /** Not yet part of a request that began. */
  #held: Buffer = EMPTY;
  #head: EventHead | undefined;
  #current: DirectExchange | undefined;
  /** Answered, but not yet gone. */
  #unread: DirectExchange[] = [];
  #isReading = false;
  #isEnded = false;
  #lastSweep: number;

  constructor(socket: Socket, ports: ConnectionPorts) {
    this.#socket = socket;
    this.#ports = ports;
    this.#lastSweep = ports.sweeps();
    this.#exchangePorts = { log: ports.log, date: ports.date, answered: (last) => this.#answered(last) };
    socket.on("data", this.#onData).on("end", this.#onEnd).on("error", ignore).on("close", this.#onClose);
  }

  sweep(): void {
    this.#unread = this.#unread.filter((exchange) => !exchange.settle());
    if (this.#current !== undefined) return;
    const silent = this.#ports.sweeps() - this.#lastSweep;
    // Each in a turn of its own: node reads one request, and takes its share, before the next one.
    if ((this.#held.length > 0 || this.#socket.bytesRead === 0) && silent >= 2) setImmediate(() => this.#handOverIfSilent());
    else if (silent > IDLE_SWEEPS) this.#socket.destroy();
  }

  #handOverIfSilent(): void {
    if (!this.#isEnded && this.#current === undefined && this.#ports.sweeps() - this.#lastSweep >= 2) this.#handOver();
  }

  drain(): void {
    if (this.#current !== undefined) this.#current.closeAfter();
    else if (this.#held.length > 0) this.#handOver();
    else this.#socket.end();
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#lastSweep = this.#ports.sweeps();
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    this.#read();
  };

  /** Requests in order, until one is under way or more bytes are needed. Not recursive: a thousand refusals may wait in one chunk. */
  #read(): void {
    if (this.#isReading) return;
    this.#isReading = true;
    while (this.#current === undefined && this.#held.length > 0 && !this.#isEnded) {
      const head = this.#head ?? readEventHead(this.#held);
      if (head === INCOMPLETE) break;
      if (head === FOREIGN) {
        this.#handOver();
        return;
      }
      const end = head.bodyStart + head.contentLength;
      if (this.#held.length < end) {
        this.#head = head;
        // The share of a request's tenant is taken when it begins: more is not held before.
        if (end > MAX_HELD_BYTES) {
          this.#handOver();
          return;
        }
        break;
      }
      this.#head = undefined;
      const body = this.#held.subarray(head.bodyStart, end);
      this.#held = this.#held.length === end ? EMPTY : this.#held.subarray(end);
      this.#begin(head, body);
    }
    this.#isReading = false;
    if (this.#current !== undefined && this.#held.length > MAX_HELD_BYTES) this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
  }

  #begin(head: EventHead, body: Buffer): void {
    const exchange = new DirectExchange(this.#socket, head, body, this.#exchangePorts);
    this.#current = exchange;
    if (this.#ports.isDraining()) exchange.closeAfter();
    this.#ports.began(this.#socket, exchange);
    const { tracing } = this.#ports;
    if (tracing !== undefined) exchange.span = beginRequest(tracing, { method: "POST", url: head.url, headers: head.headers });
    try {
      this.#ports.capture(exchange, head.pipeline)?.catch((error: unknown) => exchange.fail(error));
    } catch (error) {
      exchange.fail(error);
    }
  }

  #answered(last: boolean): void {
    const exchange = this.#current;
    this.#current = undefined;
    this.#lastSweep = this.#ports.sweeps();
    if (exchange !== undefined && !exchange.closed) this.#unread.push(exchange);
    if (last) this.#isEnded = true;
    else this.#read();
  }

  /** Nothing more comes; what is under way is answered. */
  readonly #onEnd = (): void => {
    if (this.#current !== undefined) this.#current.closeAfter();
    else if (this.#held.length > 0) this.#socket.end(rawProblem(400, "request.malformed", "the request ended before it was whole"));
    else this.#socket.end();
  };

  readonly #onClose = (): void => {
    this.#isEnded = true;
    this.#held = EMPTY;
    this.#ports.left();
    this.#current?.settle();
    for (const exchange of this.#unread) exchange.settle();
  };

  #handOver(): void {
    const socket = this.#socket;
    const rest = this.#held;
    this.#isEnded = true;
    this.#ports.left();
    socket.off("data", this.#onData).off("end", this.#onEnd).off("error", ignore).off("close", this.#onClose);
    // Answers that have not left yet are not waited for: the share of a request is small, and node's own sweep cuts who does not read.
    for (const exchange of this.#unread) socket.once("close", () => exchange.settle());
    this.#ports.handOver(socket, rest);
  }
}

const ignore = (): void => undefined;
