/**
 * The transport inside one process. It still encodes to bytes, applies the same policies and honours the same deadlines, so nothing works in solo and
 * fails on the wire. A directory holds who serves under which name.
 * Invariants: a call to a name that nobody serves fails `service.unavailable`; calls in flight when the server goes away fail `service.lost`.
 */
import { setMaxListeners } from "node:events";
import { OneDataError, raceSignal } from "@onedata/core";
import { untilAborted } from "../../rpc/deadline.ts";
import type { MethodTable, ServedMethod, Transport, TransportCall } from "../../rpc/transport.ts";

type Served = { readonly table: MethodTable; readonly gone: AbortController };

export interface InprocDirectory {
  /** Serves `table` under `name` until disposed. Throws if the name is taken. */
  serve(name: string, table: MethodTable): AsyncDisposable;
  find(name: string): Served | undefined;
}

export function createInprocDirectory(): InprocDirectory {
  const served = new Map<string, Served>();
  return {
    serve(name, table) {
      if (served.has(name)) throw new Error(`inproc: ${JSON.stringify(name)} is served already`);
      const entry = { table, gone: new AbortController() };
      // One listener per call in flight.
      setMaxListeners(0, entry.gone.signal);
      served.set(name, entry);
      return {
        async [Symbol.asyncDispose]() {
          served.delete(name);
          entry.gone.abort();
        },
      };
    },
    find: (name) => served.get(name),
  };
}

/** The name is looked up at each call: who serves may come later, go and come back. */
export function createInprocTransport(name: string, directory: InprocDirectory): Transport {
  const address = `inproc:${name}`;

  const enter = <K extends ServedMethod["kind"]>(path: string, kind: K): { method: Extract<ServedMethod, { kind: K }>; gone: AbortSignal } => {
    const served = directory.find(name);
    if (served === undefined)
      throw new OneDataError("service.unavailable", `${address} ${path}: nobody serves ${JSON.stringify(name)} in this process`);
    const method = served.table.methods.get(path);
    if (method === undefined || !isKind(method, kind)) throw new OneDataError("route.not_found", `${address} serves no ${path}`);
    return { method, gone: served.gone.signal };
  };

  /** Ends when the caller's deadline passes, the caller leaves, or the server is gone. */
  const link = (path: string, call: TransportCall, gone: AbortSignal): Disposable & { readonly signal: AbortSignal } => {
    const controller = new AbortController();
    const onGone = (): void => controller.abort(new OneDataError("service.lost", `${address} ${path}: the server went away during the call`));
    const onCall = (): void => controller.abort(call.signal.reason);
    gone.addEventListener("abort", onGone, { once: true });
    call.signal.addEventListener("abort", onCall, { once: true });
    if (call.signal.aborted) onCall();
    return {
      signal: controller.signal,
      [Symbol.dispose]() {
        gone.removeEventListener("abort", onGone);
        call.signal.removeEventListener("abort", onCall);
      },
    };
  };

  return {
    address,
    async unary(path, request, call) {
      const { method, gone } = enter(path, "unary");
      using linked = link(path, call, gone);
      return await raceSignal(method.handle(request, { metadata: call.metadata, signal: linked.signal, timeoutMs: call.timeoutMs }), linked.signal);
    },
    async *serverStream(path, request, call) {
      const { method, gone } = enter(path, "server_stream");
      using linked = link(path, call, gone);
      yield* untilAborted(method.handle(request, { metadata: call.metadata, signal: linked.signal, timeoutMs: call.timeoutMs }), linked.signal);
    },
    async clientStream(path, requests, call) {
      const { method, gone } = enter(path, "client_stream");
      using linked = link(path, call, gone);
      return await raceSignal(
        method.handle(untilAborted(requests, linked.signal), { metadata: call.metadata, signal: linked.signal, timeoutMs: call.timeoutMs }),
        linked.signal,
      );
    },
    async [Symbol.asyncDispose]() {},
  };
}

const isKind = <K extends ServedMethod["kind"]>(method: ServedMethod, kind: K): method is Extract<ServedMethod, { kind: K }> => method.kind === kind;
