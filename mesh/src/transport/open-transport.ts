/**
 * From an address to a transport, and from a listen address to a server. The scheme picks the adapter, loaded only when it is asked for: there is no mode
 * flag anywhere, the profile is the sum of the addresses.
 *   inproc:transform            in this process, through the directory
 *   worker:transform            in a worker thread of this process, started from `workers.transform`
 *   dns:///transform:7443       gRPC, round robin over the name's addresses; also ipv4:, ipv6:, unix:
 */
import { OneDataError } from "@onedata/core";
import type { MethodTable, Transport } from "../rpc/transport.ts";
import type { GrpcServer } from "./grpc/server.ts";
import { createInprocTransport, type InprocDirectory } from "./inproc/inproc.ts";

export type TransportDeps = {
  /** Needed for `inproc:`. */
  readonly directory?: InprocDirectory;
  /** Needed for `worker:`: entry module and start data by name. */
  readonly workers?: { readonly [name: string]: { readonly module: URL; readonly data?: unknown; readonly maxHeapMb?: number } };
};

/** Connects with the first call. The caller disposes. Throws `config.problems` for an address that cannot be used. */
export async function openTransport(address: string, deps: TransportDeps = {}): Promise<Transport> {
  const [, scheme = "", name = ""] = /^([a-z0-9]+):(.*)$/.exec(address) ?? [];
  switch (scheme) {
    case "inproc":
      if (deps.directory === undefined)
        throw new OneDataError("config.problems", `${address}: this process has no directory of services; give a dns:/// address`);
      return createInprocTransport(name, deps.directory);
    case "worker": {
      const worker = deps.workers?.[name];
      if (worker === undefined)
        throw new OneDataError("config.problems", `${address}: no such worker; known: ${Object.keys(deps.workers ?? {}).join(", ") || "none"}`);
      const { createWorkerTransport } = await import("./worker/client.ts");
      return createWorkerTransport({ name, ...worker });
    }
    case "dns":
    case "ipv4":
    case "ipv6":
    case "unix": {
      const { createGrpcTransport } = await import("./grpc/client.ts");
      return createGrpcTransport(address);
    }
    default:
      throw new OneDataError(
        "config.problems",
        `address ${JSON.stringify(address)}: unknown scheme; known: inproc:<name>, worker:<name>, dns:///host:port`,
      );
  }
}

export type ListenOptions = { readonly directory?: InprocDirectory; readonly graceMs?: number };

export type Listening = AsyncDisposable & {
  /** Where clients reach it: `inproc:transform`, `dns:///127.0.0.1:41234`. */
  readonly address: string;
  /** Only of gRPC. */
  readonly port: number | undefined;
  readonly setHealth: GrpcServer["setHealth"];
};

/** Serves on `inproc:<name>` or `host:port` (gRPC; port 0 takes any free one, the real one is in the answer). */
export async function listen(table: MethodTable, where: string, options: ListenOptions = {}): Promise<Listening> {
  if (where.startsWith("inproc:")) {
    if (options.directory === undefined) throw new OneDataError("config.problems", `${where}: this process has no directory of services`);
    const serving = options.directory.serve(where.slice("inproc:".length), table);
    return { address: where, port: undefined, setHealth: () => undefined, [Symbol.asyncDispose]: async () => await serving[Symbol.asyncDispose]() };
  }
  const { openGrpcServer } = await import("./grpc/server.ts");
  const server = await openGrpcServer(table, { listen: where, ...(options.graceMs === undefined ? {} : { graceMs: options.graceMs }) });
  const host = where.slice(0, where.lastIndexOf(":"));
  const reachable = host === "0.0.0.0" || host === "[::]" ? "127.0.0.1" : host;
  return {
    address: `dns:///${reachable}:${server.port}`,
    port: server.port,
    setHealth: (status) => server.setHealth(status),
    [Symbol.asyncDispose]: async () => await server[Symbol.asyncDispose](),
  };
}
