/**
 * Serves a method table over gRPC (HTTP/2, plaintext; the mesh's proxies encrypt).
 * Stopping: health says not serving, no new calls are taken, calls in flight may finish within the grace period, then they are cut.
 */
import { type ChannelOptions, ServerCredentials, status } from "@grpc/grpc-js";
import { OneDataError, raceSignal } from "@onedata/core";
import { type CallContext, createServer, type Metadata as GrpcMetadata, type Server, ServerError } from "nice-grpc";
import type { Metadata } from "../../rpc/metadata.ts";
import { encodeProblem, PROBLEM_TRAILER } from "../../rpc/problem.ts";
import { type IncomingCall, MAX_MESSAGE_BYTES, type MethodTable, type ServedMethod } from "../../rpc/transport.ts";
import { addHealth, type HealthStatus } from "./health.ts";
import { rawMethod, TIMEOUT_MS_HEADER } from "./methods.ts";

export type GrpcServerOptions = {
  /** `host:port`; port 0 takes any free one. */
  readonly listen: string;
  /** How long calls in flight may take after a stop. */
  readonly graceMs?: number;
};

export interface GrpcServer extends AsyncDisposable {
  /** The real one. */
  readonly port: number;
  /** Tells health checks; `not_serving` before a planned stop lets callers go elsewhere first. */
  setHealth(status: HealthStatus): void;
}

const SERVER_OPTIONS: ChannelOptions = {
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 5_000,
};

export async function openGrpcServer(table: MethodTable, options: GrpcServerOptions): Promise<GrpcServer> {
  const server = createServer(SERVER_OPTIONS);
  for (const method of table.methods.values()) addMethod(server, method);

  let health: HealthStatus = "serving";
  let change = deferred();
  const setHealth = (next: HealthStatus): void => {
    if (health === next) return;
    health = next;
    change.resolve();
    change = deferred();
  };
  const services = new Set([...table.methods.keys()].map((path) => path.split("/")[1] ?? ""));
  addHealth(server, { status: () => health, services, changed: (signal) => raceSignal(change.promise, signal) });

  let port: number;
  try {
    port = await server.listen(options.listen, ServerCredentials.createInsecure());
  } catch (error) {
    throw new OneDataError("config.problems", `cannot listen on ${options.listen}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
  return {
    port,
    setHealth,
    async [Symbol.asyncDispose]() {
      setHealth("not_serving");
      const cut = setTimeout(() => server.forceShutdown(), options.graceMs ?? 10_000);
      await server.shutdown();
      clearTimeout(cut);
    },
  };
}

function addMethod(server: Server, method: ServedMethod): void {
  switch (method.kind) {
    case "unary":
      server.add(rawMethod(method.path, false, false), {
        call: (request: Uint8Array, context: CallContext) => method.handle(request, toIncoming(context)).catch(refuse(context)),
      });
      return;
    case "client_stream":
      server.add(rawMethod(method.path, true, false), {
        call: (requests: AsyncIterable<Uint8Array>, context: CallContext) => method.handle(requests, toIncoming(context)).catch(refuse(context)),
      });
      return;
    case "server_stream":
      server.add(rawMethod(method.path, false, true), {
        call: async function* (request: Uint8Array, context: CallContext) {
          try {
            yield* method.handle(request, toIncoming(context));
          } catch (error) {
            refuse(context)(error);
          }
        },
      });
  }
}

/** The problem goes into the trailer, its gist into the status, for clients that read only that. */
const refuse =
  (context: CallContext) =>
  (error: unknown): never => {
    const known = OneDataError.from(error);
    context.trailer.set(PROBLEM_TRAILER, encodeProblem(known));
    throw new ServerError(status[known.row.grpc], known.toProblem().detail.slice(0, 500));
  };

function toIncoming(context: CallContext): IncomingCall {
  const timeoutMs = Number(context.metadata.get(TIMEOUT_MS_HEADER));
  return { metadata: toMetadata(context.metadata), signal: context.signal, timeoutMs: timeoutMs > 0 ? timeoutMs : undefined };
}

function toMetadata(metadata: GrpcMetadata): Metadata {
  const plain: Record<string, string> = {};
  for (const [name, values] of metadata) {
    const value = values[0];
    if (typeof value === "string") plain[name] = value;
  }
  return plain;
}

function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
