/**
 * A typed client of a service over any transport.
 * Duty: encode and decode; deadline from the method's policy; caller, secret, identity and trace context as metadata; retries where the contract allows them.
 * Non-duty: validation (the server does it), connections (the transport does).
 * Invariants: fails only with `OneDataError`; a call is repeated only if its idempotency level says so, on UNAVAILABLE, within one deadline.
 */
import { type MethodContract, readContract } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import type { Tracer } from "@opentelemetry/api";
import { startClientSpan, withSpan } from "./call-span.ts";
import { startDeadline, wait } from "./deadline.ts";
import type { Client, MethodDefinition, ServiceDefinition } from "./definition.ts";
import { HEADER, type Identity, identityMetadata, type Metadata } from "./metadata.ts";
import { MAX_MESSAGE_BYTES, type Transport, type TransportCall } from "./transport.ts";

export type CallOptions = {
  readonly signal?: AbortSignal;
  /** Shortens the policy's timeout; cannot extend it. */
  readonly timeoutMs?: number;
  readonly metadata?: Metadata;
  /** For whom the call is made. */
  readonly identity?: Identity;
  readonly traceparent?: string;
};

export type ClientOptions = {
  /** Workload that calls: gateway, control, engine, ... */
  readonly caller: string;
  /** Absent where the mesh's proxies vouch for identities. */
  readonly meshSecret?: string;
  /** Asked for every call that brings no traceparent of its own. */
  readonly traceparent?: () => string | undefined;
  /** Makes a span of every call in a sampled trace. */
  readonly tracer?: Tracer | undefined;
};

/** Throws for a definition that is not in the image. Disposing the transport is the caller's. */
export function createClient<D extends ServiceDefinition>(definition: D, transport: Transport, options: ClientOptions): Client<D> {
  const { methodByPath } = readContract();
  const methods = Object.entries(definition.methods).map(([key, method]) => {
    const path = `/${definition.fullName}/${method.name}`;
    const contract = methodByPath.get(path);
    if (contract === undefined) throw new Error(`rpc: ${path} is not in the contract; run \`npm run gen\``);
    return [key, createMethod(method, contract, transport, options)];
  });
  // The mapped type is built key by key from the same definition; TypeScript cannot follow that through Object.fromEntries.
  return Object.fromEntries(methods) as Client<D>;
}

function createMethod(method: MethodDefinition, contract: MethodContract, transport: Transport, options: ClientOptions): unknown {
  const { requestType, responseType } = method;
  const { path, policy } = contract;
  const what = `${transport.address} ${path}`;
  const encode = (request: unknown): Uint8Array => checkSize(requestType.encode(requestType.fromPartial(request)).finish(), what);
  const decode = (bytes: Uint8Array): unknown => {
    try {
      return responseType.decode(bytes);
    } catch (error) {
      throw new OneDataError("contract.breach", `${what}: the answer is no ${responseType.$type}`, { cause: error });
    }
  };
  const start = (call: CallOptions) => {
    const traceparent = call.traceparent ?? options.traceparent?.();
    const span = startClientSpan({ tracer: options.tracer, traceparent, path }, transport.address);
    return {
      span,
      deadline: startDeadline(what, Math.min(call.timeoutMs ?? policy.timeoutMs, policy.timeoutMs), call.signal),
      metadata: toMetadata(options, call, span?.traceparent ?? traceparent),
    };
  };

  if (method.requestStream && method.responseStream) throw new Error(`rpc: ${path} streams both ways; no transport carries that`);
  if (method.requestStream) {
    return async (requests: AsyncIterable<unknown>, call: CallOptions = {}) => {
      const { deadline, metadata, span } = start(call);
      using _ = deadline;
      try {
        const answer = await transport.clientStream(path, mapAsync(requests, encode), {
          metadata,
          signal: deadline.signal,
          timeoutMs: deadline.remainingMs(),
        });
        const decoded = decode(answer);
        span?.end();
        return decoded;
      } catch (error) {
        span?.end(error);
        throw error;
      }
    };
  }
  if (method.responseStream) {
    return async function* (request: unknown, call: CallOptions = {}) {
      const bytes = encode(request);
      const { deadline, metadata, span } = start(call);
      using _ = deadline;
      const answers = transport.serverStream(path, bytes, { metadata, signal: deadline.signal, timeoutMs: deadline.remainingMs() });
      yield* withSpan(mapAsync(answers, decode), span);
    };
  }
  const maxRetries = contract.idempotency === "unknown" ? 0 : policy.maxRetries;
  return async (request: unknown, call: CallOptions = {}) => {
    const bytes = encode(request);
    const { deadline, metadata, span } = start(call);
    using _ = deadline;
    try {
      for (let retry = 0; ; retry++) {
        try {
          const attempt: TransportCall = { metadata, signal: deadline.signal, timeoutMs: deadline.remainingMs() };
          const answer = decode(await transport.unary(path, bytes, attempt));
          span?.end();
          return answer;
        } catch (error) {
          const known = OneDataError.from(error);
          if (retry >= maxRetries || known.row.grpc !== "UNAVAILABLE") throw known;
          await wait(backoffMs(retry), deadline.signal);
        }
      }
    } catch (error) {
      span?.end(error);
      throw error;
    }
  };
}

function toMetadata(options: ClientOptions, call: CallOptions, traceparent: string | undefined): Metadata {
  return {
    ...call.metadata,
    ...(call.identity === undefined ? {} : identityMetadata(call.identity)),
    ...(traceparent === undefined ? {} : { [HEADER.traceparent]: traceparent }),
    ...(options.meshSecret === undefined ? {} : { [HEADER.meshSecret]: options.meshSecret }),
    [HEADER.caller]: options.caller,
  };
}

function checkSize(bytes: Uint8Array, what: string): Uint8Array {
  if (bytes.length <= MAX_MESSAGE_BYTES) return bytes;
  throw new OneDataError(
    "request.too_large",
    `${what}: the request has ${bytes.length} bytes, a call carries at most ${MAX_MESSAGE_BYTES}; split it`,
  );
}

async function* mapAsync<A, B>(source: AsyncIterable<A>, map: (value: A) => B): AsyncGenerator<B, void, undefined> {
  for await (const value of source) yield map(value);
}

/** 25 to 50 ms, then double: a restarting neighbour is back within a few of these. */
const backoffMs = (retry: number): number => 50 * 2 ** retry * (0.5 + Math.random() / 2);
