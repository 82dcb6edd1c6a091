/**
 * The port between the rpc kernel and what carries its bytes. Adapters: inproc, worker, grpc; `transport-conformance.ts` holds all of them to one behaviour.
 * An adapter carries bytes, metadata, cancellation and deadlines, and tells faults apart:
 *   service.unavailable  the call never reached a server;      service.lost  it was sent, then the connection broke or the server died;
 *   request.timeout      the deadline passed;                  aborted       the caller's signal fired;
 *   any other code       what the server answered (a Problem in the trailer, or its status).
 * Non-duty: encoding, policies, retries, validation: `client.ts` and `service-host.ts` do them alike over every transport.
 */
import type { Metadata } from "./metadata.ts";

/** Explicit on both sides: other languages' gRPC accepts this much. */
export const MAX_MESSAGE_BYTES = 4 * 1024 * 1024;

/** What a call carries besides its bytes. */
export type TransportCall = {
  readonly metadata: Metadata;
  readonly signal: AbortSignal;
  /** What is left of the deadline when the call starts. */
  readonly timeoutMs: number;
};

/** `path` is gRPC's: `/onedata.transform.v1.TransformService/Apply`. */
export interface Transport extends AsyncDisposable {
  /** For messages: `inproc:transform`, `dns:///transform:7443`. */
  readonly address: string;
  unary(path: string, request: Uint8Array, call: TransportCall): Promise<Uint8Array>;
  serverStream(path: string, request: Uint8Array, call: TransportCall): AsyncIterable<Uint8Array>;
  clientStream(path: string, requests: AsyncIterable<Uint8Array>, call: TransportCall): Promise<Uint8Array>;
}

/** A call as a server's transport hands it in. `timeoutMs` is undefined where the caller set no deadline. */
export type IncomingCall = { readonly metadata: Metadata; readonly signal: AbortSignal; readonly timeoutMs: number | undefined };

/** The serving side of the port; rejects with a `OneDataError` that may cross the process line as it is. */
export type ServedMethod =
  | { readonly kind: "unary"; readonly path: string; handle(request: Uint8Array, call: IncomingCall): Promise<Uint8Array> }
  | { readonly kind: "server_stream"; readonly path: string; handle(request: Uint8Array, call: IncomingCall): AsyncIterable<Uint8Array> }
  | { readonly kind: "client_stream"; readonly path: string; handle(requests: AsyncIterable<Uint8Array>, call: IncomingCall): Promise<Uint8Array> };

/** What a server transport serves: a service host. */
export interface MethodTable {
  readonly methods: ReadonlyMap<string, ServedMethod>;
}
