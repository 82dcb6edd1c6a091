/**
 * The transport over gRPC, plaintext HTTP/2 inside a mesh whose proxies encrypt.
 * Invariants: `dns:///host:port` is balanced round robin over all addresses of the name, never pick_first; a message has at most 4 MiB; a dead peer is noticed by keepalive.
 */
import { Channel, type ChannelOptions, credentials } from "@grpc/grpc-js";
import { OneDataError } from "@onedata/core";
import { type CallOptions, createClient, Metadata } from "nice-grpc";
import { untilAborted } from "../../rpc/deadline.ts";
import { MAX_MESSAGE_BYTES, type Transport, type TransportCall } from "../../rpc/transport.ts";
import { rawMethod, TIMEOUT_HEADER, TIMEOUT_MS_HEADER, toGrpcTimeout } from "./methods.ts";
import { toOneDataError } from "./status.ts";

const CHANNEL_OPTIONS: ChannelOptions = {
  "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.keepalive_permit_without_calls": 1,
  // A restarted neighbour is found again within a second or two.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2_000,
  // Not shared between transports: closing one must not break another.
  "grpc.use_local_subchannel_pool": 1,
};

/** `address` is a gRPC target: `dns:///transform:7443`. Connects with the first call. */
export function createGrpcTransport(address: string): Transport {
  const channel = new Channel(address, credentials.createInsecure(), CHANNEL_OPTIONS);
  const unary = perPath((path) => createClient(rawMethod(path, false, false), channel).call);
  const serverStream = perPath((path) => createClient(rawMethod(path, false, true), channel).call);
  const clientStream = perPath((path) => createClient(rawMethod(path, true, false), channel).call);
  return {
    address,
    async unary(path, request, call) {
      const { options, fail } = prepare(address, path, call);
      try {
        return await unary(path)(request, options);
      } catch (error) {
        throw fail(error);
      }
    },
    async *serverStream(path, request, call) {
      const { options, fail } = prepare(address, path, call);
      try {
        yield* serverStream(path)(request, options);
      } catch (error) {
        throw fail(error);
      }
    },
    async clientStream(path, requests, call) {
      const { options, fail } = prepare(address, path, call);
      let own: { readonly error: unknown } | undefined;
      // What the caller's own iterable throws must come back as it is, not as a cancelled call.
      const source = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
        try {
          yield* untilAborted(requests, call.signal);
        } catch (error) {
          own = { error };
          throw error;
        }
      };
      try {
        return await clientStream(path)(source(), options);
      } catch (error) {
        throw own === undefined ? fail(error) : OneDataError.from(own.error);
      }
    },
    async [Symbol.asyncDispose]() {
      channel.close();
    },
  };
}

function prepare(
  address: string,
  path: string,
  call: TransportCall,
): { readonly options: CallOptions; readonly fail: (error: unknown) => OneDataError } {
  let trailer: Metadata | undefined;
  const metadata = Metadata(call.metadata)
    .set(TIMEOUT_HEADER, toGrpcTimeout(call.timeoutMs))
    .set(TIMEOUT_MS_HEADER, String(Math.ceil(call.timeoutMs)));
  return {
    options: { metadata, signal: call.signal, onTrailer: (received) => (trailer = received) },
    fail: (error) => toOneDataError(error, `${address} ${path}`, call.signal, trailer),
  };
}

function perPath<T>(make: (path: string) => T): (path: string) => T {
  const made = new Map<string, T>();
  return (path) => {
    const known = made.get(path);
    if (known !== undefined) return known;
    const created = make(path);
    made.set(path, created);
    return created;
  };
}
