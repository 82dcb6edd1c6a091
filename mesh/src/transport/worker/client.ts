/**
 * The transport to a worker thread of this process: for services whose slow expressions must not stall accepts and lease renewals.
 * A worker is started with the first call, and again with the first call after it died. Its module is started from source (`.ts`, through tsx) or from dist alike.
 * Invariants: calls in flight when the worker dies fail `service.lost`; a worker that never came up fails them `service.unavailable`; request bytes are copied
 * once (a retry needs them again), response bytes are moved.
 */
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { MessageChannel, Worker } from "node:worker_threads";
import { OneDataError, raceSignal } from "@onedata/core";
import { untilAborted } from "../../rpc/deadline.ts";
import { decodeProblem } from "../../rpc/problem.ts";
import type { ServedMethod, Transport, TransportCall } from "../../rpc/transport.ts";
import { createInbox, type Inbox } from "./demand.ts";
import { type ToClient, type ToServer, transferOf } from "./protocol.ts";

export type WorkerOptions = {
  /** For messages. */
  readonly name: string;
  /** Entry module; it calls `serveWorker(host, readWorkerStart().port)`. */
  readonly module: URL;
  /** Given to the module as it is, by structured clone. */
  readonly data?: unknown;
  /** Heap of the worker; a runaway script ends the worker, not the process. */
  readonly maxHeapMb?: number;
};

type Running = {
  readonly worker: Worker;
  /** Lets it end by itself for a moment: it may have something left to send. */
  stop(): Promise<void>;
  post(message: ToServer): void;
  postBody(message: ToServer & { readonly body: Uint8Array }): void;
  readonly calls: Map<number, { readonly inbox: Inbox; readonly pulled: () => void }>;
};

export function createWorkerTransport(options: WorkerOptions): Transport {
  const address = `worker:${options.name}`;
  let running: Running | undefined;
  let lastId = 0;
  let closed = false;

  const start = (): Running => {
    const { port1: own, port2: other } = new MessageChannel();
    const fromSource = options.module.pathname.endsWith(".ts");
    const worker = new Worker(fromSource ? startFromSource(options.module) : options.module, {
      name: options.name,
      workerData: { port: other, data: options.data },
      transferList: [other],
      eval: fromSource,
      execArgv: fromSource ? ["--conditions=source"] : [],
      ...(options.maxHeapMb === undefined ? {} : { resourceLimits: { maxOldGenerationSizeMb: options.maxHeapMb } }),
    });
    const calls: Running["calls"] = new Map();
    let ready = false;
    let cause: unknown;
    const exited = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
    const started: Running = {
      worker,
      calls,
      async stop() {
        own.close();
        const timer = setTimeout(() => void worker.terminate(), STOP_MS);
        await exited;
        clearTimeout(timer);
      },
      post: (message) => own.postMessage(message),
      postBody: (message) => own.postMessage(message, transferOf(message.body)),
    };
    own.on("message", (message: ToClient) => {
      if (message.type === "ready") {
        ready = true;
        return;
      }
      const call = calls.get(message.id);
      if (call === undefined) return;
      switch (message.type) {
        case "message":
          call.inbox.push(message.body);
          return;
        case "end":
          call.inbox.end();
          return;
        case "pull":
          call.pulled();
          return;
        case "fail":
          call.inbox.fail(decodeProblem(message.problem) ?? new OneDataError("contract.breach", `${address}: a worker failed without a problem`));
      }
    });
    worker.on("error", (error) => {
      cause = error;
    });
    worker.on("exit", () => {
      if (running === started) running = undefined;
      own.close();
      const why = cause instanceof Error ? `: ${cause.message}` : "";
      const error = ready
        ? new OneDataError("service.lost", `${address}: the worker died during the call${why}`, { cause })
        : new OneDataError("service.unavailable", `${address}: the worker did not come up${why}`, { cause });
      for (const { inbox } of calls.values()) inbox.fail(error);
    });
    // A worker never keeps the process alive; whoever opened the transport closes it.
    worker.unref();
    own.unref();
    return started;
  };

  /** The answers of one call. `requests` are sent as the worker asks for them. */
  const call = async function* (
    kind: ServedMethod["kind"],
    path: string,
    body: Uint8Array,
    requests: AsyncIterable<Uint8Array> | undefined,
    { metadata, signal, timeoutMs }: TransportCall,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    if (closed) throw new OneDataError("service.unavailable", `${address} ${path}: the transport is closed`);
    signal.throwIfAborted();
    const current = (running ??= start());
    const id = ++lastId;
    const source = requests?.[Symbol.asyncIterator]();
    const inbox = createInbox(
      () => (kind === "server_stream" ? current.post({ type: "pull", id }) : undefined),
      () => current.post({ type: "cancel", id }),
    );
    const sendNext = async (): Promise<void> => {
      try {
        const next = source === undefined ? undefined : await source.next();
        if (next === undefined || next.done === true) current.post({ type: "end", id });
        else current.postBody({ type: "message", id, body: next.value.slice() });
      } catch (error) {
        inbox.fail(error);
        current.post({ type: "cancel", id });
      }
    };
    current.calls.set(id, { inbox, pulled: () => void sendNext() });
    current.postBody({ type: "call", id, kind, path, metadata, timeoutMs, body: body.slice() });
    try {
      yield* untilAborted(inbox, signal);
    } finally {
      current.calls.delete(id);
      if (signal.aborted) current.post({ type: "cancel", id });
    }
  };

  const single = async (answers: AsyncIterable<Uint8Array>, path: string): Promise<Uint8Array> => {
    let answer: Uint8Array | undefined;
    for await (const body of answers) answer = body;
    if (answer === undefined) throw new OneDataError("contract.breach", `${address} ${path}: no answer`);
    return answer;
  };

  return {
    address,
    unary: (path, request, options) => raceSignal(single(call("unary", path, request, undefined, options), path), options.signal),
    serverStream: (path, request, options) => call("server_stream", path, request, undefined, options),
    clientStream: (path, requests, options) => raceSignal(single(call("client_stream", path, EMPTY, requests, options), path), options.signal),
    async [Symbol.asyncDispose]() {
      closed = true;
      await running?.stop();
    },
  };
}

/** On Node 20 a worker inherits neither the loader of its parent nor one from `--import`; tsx has to be registered inside. */
function startFromSource(module: URL): string {
  // The CommonJS entry resolves anywhere; its ES sibling is the one that works inside a worker.
  const tsx = pathToFileURL(
    createRequire(import.meta.url)
      .resolve("tsx/esm/api")
      .replace(/\.cjs$/, ".mjs"),
  );
  const failed = "(error) => setImmediate(() => { throw error; })";
  return `import(${JSON.stringify(tsx.href)}).then(({ register }) => { register(); return import(${JSON.stringify(module.href)}); }).catch(${failed});`;
}

/** How long a worker may take to end once its port has closed. */
const STOP_MS = 2_000;

const EMPTY = new Uint8Array(0);
