/** The serving side, inside the worker: answers the calls that come over its port from a method table. */
import { workerData } from "node:worker_threads";
import { OneDataError, raceSignal } from "@onedata/core";
import { encodeProblem } from "../../rpc/problem.ts";
import type { IncomingCall, MethodTable } from "../../rpc/transport.ts";
import { createDemand, createInbox, type Demand, type Inbox } from "./demand.ts";
import { type Port, type ToClient, type ToServer, transferOf } from "./protocol.ts";

/** What a worker module gets from `createWorkerTransport`. */
export type WorkerStart = { readonly port: Port<ToClient>; readonly data: unknown };

/** In the worker's entry module. Throws outside of a worker that `createWorkerTransport` has started. */
export function readWorkerStart(): WorkerStart {
  const start: unknown = workerData;
  if (isWorkerStart(start)) return start;
  throw new Error("worker: this module is started by a worker transport, not by itself");
}

const isWorkerStart = (value: unknown): value is WorkerStart => typeof value === "object" && value !== null && "port" in value && "data" in value;

/** Serves until the port closes. Calls may come before this: the port keeps them. */
export function serveWorker(table: MethodTable, port: Port<ToClient>): void {
  const calls = new Map<number, { readonly controller: AbortController; readonly inbox: Inbox | undefined; readonly demand: Demand }>();
  const post = (id: number, body: Uint8Array): void => port.postMessage({ type: "message", id, body }, transferOf(body));

  const answer = async (message: Extract<ToServer, { type: "call" }>): Promise<void> => {
    const { id, kind, path } = message;
    const controller = new AbortController();
    const inbox =
      kind === "client_stream"
        ? createInbox(
            () => port.postMessage({ type: "pull", id }),
            () => undefined,
          )
        : undefined;
    const demand = createDemand();
    calls.set(id, { controller, inbox, demand });
    try {
      const method = table.methods.get(path);
      if (method === undefined || method.kind !== kind) throw new OneDataError("route.not_found", `the worker serves no ${path}`);
      const call: IncomingCall = { metadata: message.metadata, signal: controller.signal, timeoutMs: message.timeoutMs };
      if (method.kind === "server_stream") {
        for await (const body of method.handle(message.body, call)) {
          await raceSignal(demand.take(), controller.signal);
          post(id, body);
        }
      } else {
        post(id, await (method.kind === "unary" ? method.handle(message.body, call) : method.handle(inbox ?? nothing(), call)));
      }
      port.postMessage({ type: "end", id });
    } catch (error) {
      port.postMessage({ type: "fail", id, problem: encodeProblem(OneDataError.from(error)) });
    } finally {
      calls.delete(id);
    }
  };

  port.on("message", (message) => {
    if (!isToServer(message)) return;
    if (message.type === "call") {
      void answer(message);
      return;
    }
    const call = calls.get(message.id);
    if (call === undefined) return;
    switch (message.type) {
      case "message":
        call.inbox?.push(message.body);
        return;
      case "end":
        call.inbox?.end();
        return;
      case "pull":
        call.demand.add();
        return;
      case "cancel":
        call.inbox?.fail(new OneDataError("aborted", "the caller gave up"));
        call.controller.abort();
    }
  });
  port.postMessage({ type: "ready" });
}

/** Only `createWorkerTransport` holds the other end. */
const isToServer = (message: unknown): message is ToServer => typeof message === "object" && message !== null && "type" in message;

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {}
