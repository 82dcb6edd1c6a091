/**
 * What the double answers: each call of KubeMQ's queue contract, with the faults that were ordered for it.
 * Non-duty: the server's life and death (`server.ts`), what is stored and delivered (`store.ts`, `receive.ts`, `downstream.ts`).
 */
import { type handleUnaryCall, type ServerDuplexStream, type ServerUnaryCall, status } from "@grpc/grpc-js";
import {
  batchResponse,
  type DownstreamRequest,
  type DownstreamResponse,
  pingResult,
  queuesInfo,
  queuesInfoResponse,
  RequestType,
} from "../messages.ts";
import { createDownstream } from "./downstream.ts";
import type { FaultKind, FaultPoint, Faults } from "./faults.ts";
import { createReceiver } from "./receive.ts";
import type { Store } from "./store.ts";

export type ServiceDeps = {
  readonly store: Store;
  readonly faults: Faults;
  readonly startedAt: number;
  readonly now: () => number;
  readonly token: string | undefined;
  /** Resolves when the server is not frozen. */
  readonly gate: () => Promise<void>;
  /** False once this server was killed: what was under way may touch nothing any more. */
  readonly isAlive: () => boolean;
};

export function createService(deps: ServiceDeps) {
  const { store, faults } = deps;
  const receiver = createReceiver(store);
  const allowed = (call: { metadata: { get(key: string): unknown[] } }): boolean =>
    deps.token === undefined || call.metadata.get("authorization")[0] === deps.token;
  const denied = { code: status.UNAUTHENTICATED, details: "Error 421: authentication verification failed, " };
  const dropped = { code: status.UNAVAILABLE, details: "double: connection dropped" };

  type Work<Q, R> = (request: Q, signal: AbortSignal) => Promise<R> | R;
  const unary =
    <Q, R>(at: FaultPoint, work: Work<Q, R>): handleUnaryCall<Q, R> =>
    (call: ServerUnaryCall<Q, R>, callback) => {
      const controller = new AbortController();
      call.on("cancelled", () => controller.abort());
      void (async () => {
        await deps.gate();
        if (!allowed(call)) return callback(denied);
        if (faults.take(at, "dropBefore") !== undefined) return callback(dropped);
        if (faults.take(at, "hang") !== undefined) return undefined;
        await sleep(faults.take(at, "delay")?.delayMs ?? 0);
        if (!deps.isAlive()) return undefined;
        try {
          const answer = await work(call.request, controller.signal);
          await deps.gate();
          if (faults.take(at, "dropReply") !== undefined) return callback(dropped);
          return faults.take(at, "hangAfter") === undefined ? callback(null, answer) : undefined;
        } catch (error) {
          return callback({ code: status.UNKNOWN, details: error instanceof Error ? error.message : String(error) });
        }
      })();
    };

  function stream(call: ServerDuplexStream<DownstreamRequest, DownstreamResponse>): void {
    if (!allowed(call)) return void call.emit("error", denied);
    const downstream = createDownstream(store);
    let over = false;
    let turn: Promise<void> = Promise.resolve();
    const end = (): void => {
      over = true;
      downstream.close();
    };
    async function serve(request: DownstreamRequest): Promise<void> {
      const at = pointOf(request);
      const hit = (kind: FaultKind) => (at === undefined ? undefined : faults.take(at, kind));
      await deps.gate();
      if (over) return;
      if (hit("dropBefore") !== undefined) return void call.emit("error", dropped);
      if (hit("hang") !== undefined) await new Promise<never>(() => undefined);
      await sleep(hit("delay")?.delayMs ?? 0);
      if (over || !deps.isAlive()) return;
      const answer = await downstream.handle(request);
      await deps.gate();
      if (over) return;
      if (hit("dropReply") !== undefined) return void call.emit("error", dropped);
      if (hit("hangAfter") === undefined && answer !== undefined) call.write(answer);
    }
    call.on("cancelled", end);
    call.on("error", end);
    call.on("data", (request: DownstreamRequest) => {
      turn = turn.then(() => serve(request));
    });
  }

  const copies = (at: FaultPoint): number => (faults.take(at, "duplicate") === undefined ? 1 : 2);
  return {
    ping: unary("Ping", () =>
      pingResult.of({
        host: "kubemq-double",
        version: "double of 2.4.0",
        serverStartTime: BigInt(deps.startedAt),
        serverUpTimeSeconds: BigInt(Math.max(0, Math.floor((deps.now() - deps.startedAt) / 1000))),
      }),
    ),
    sendQueueMessage: unary("SendQueueMessage", (message: Parameters<Store["send"]>[0]) => store.send(message, copies("SendQueueMessage"))),
    sendQueueMessagesBatch: unary("SendQueueMessagesBatch", (request: { batchId: string; messages: Parameters<Store["send"]>[0][] }) => {
      if (request.messages.length === 0) throw new Error("empty messages batch");
      const at = "SendQueueMessagesBatch";
      const bad = faults.take(at, "errorItem")?.n;
      const times = copies(at);
      const order = request.messages.map((_, n) => n);
      if (faults.take(at, "reorder") !== undefined) order.reverse();
      const results = new Map<number, ReturnType<Store["send"]>>();
      for (const n of order) {
        const message = request.messages[n];
        if (message === undefined) continue;
        results.set(n, n === bad ? { ...store.check(message), isError: true, error: "double: this item fails" } : store.send(message, times));
      }
      // The real server leaves haveErrors false when items fail validation, even all of them.
      return batchResponse.of({ batchId: request.batchId, results: [...results].sort(([a], [b]) => a - b).map(([, result]) => result) });
    }),
    receiveQueueMessages: unary("ReceiveQueueMessages", receiver.receive),
    ackAllQueueMessages: unary("AckAllQueueMessages", receiver.ackAll),
    queuesInfo: unary("QueuesInfo", (request: { requestId: string; queueName: string }) => {
      const queues = [...store.infos(request.queueName)];
      const sum = (of: (queue: (typeof queues)[number]) => bigint): bigint => queues.reduce((total, queue) => total + of(queue), 0n);
      return queuesInfoResponse.of({
        refRequestId: request.requestId,
        info: queuesInfo.of({
          totalQueues: queues.length,
          sent: sum((queue) => queue.sent),
          delivered: sum((queue) => queue.delivered),
          waiting: sum((queue) => queue.waiting),
          queues,
        }),
      });
    }),
    queuesDownstream: stream,
    sendRequest: (call: { readonly request: { readonly type: number } }, callback: (error: { code: status; details: string }) => void) =>
      callback({
        code: status.INTERNAL,
        details: call.request.type === 1 || call.request.type === 2 ? "Error 301: timeout for request message" : "Error 206: invalid request type",
      }),
  };
}

const POINTS: { readonly [type: number]: FaultPoint } = {
  [RequestType.get]: "Get",
  [RequestType.ackAll]: "AckAll",
  [RequestType.closeByClient]: "CloseByClient",
  [RequestType.activeOffsets]: "ActiveOffsets",
};
const pointOf = (request: DownstreamRequest): FaultPoint | undefined => POINTS[request.type];

const sleep = (ms: number): Promise<void> => (ms <= 0 ? Promise.resolve() : new Promise((done) => setTimeout(done, ms)));
