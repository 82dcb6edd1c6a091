/**
 * Serves implementations of services with the demands of their contract, the same behind every transport.
 * For each call, in this order: caller (mesh secret or identity, the service's `callers`), tenant and scopes, deadline, decoding, rules, implementation.
 * Invariants: default deny; an error leaves as a `OneDataError` that may cross the process line, what was unexpected is logged under an id and only the
 * id leaves; when the deadline passes the answer goes out even if the implementation hangs.
 */
import { randomUUID } from "node:crypto";
import { type MethodContract, readContract, type ServiceContract, validate } from "@onedata/contracts";
import { type ErrorCode, OneDataError, raceSignal } from "@onedata/core";
import type { Tracer } from "@opentelemetry/api";
import type { Authenticate } from "./authenticate.ts";
import { type CallContext, createCallContext } from "./call-context.ts";
import { startServerSpan } from "./call-span.ts";
import { startDeadline, untilAborted } from "./deadline.ts";
import type { Implementation, MethodDefinition, ServiceDefinition } from "./definition.ts";
import { HEADER, readIdentity } from "./metadata.ts";
import { RemoteError } from "./problem.ts";
import { type IncomingCall, MAX_MESSAGE_BYTES, type MethodTable, type ServedMethod } from "./transport.ts";

/** One finished call, for logs and metrics. */
export type ObservedCall = { readonly path: string; readonly caller: string; readonly code: ErrorCode | "ok"; readonly durationMs: number };

export type ServiceHostOptions = {
  readonly authenticate: Authenticate;
  /** Gets what was unexpected, with the id that the caller is told. */
  readonly onInternalError?: (error: unknown, at: { readonly path: string; readonly instance: string }) => void;
  readonly onCall?: (call: ObservedCall) => void;
  /** Makes a span of every call in a sampled trace, refused ones too. */
  readonly tracer?: Tracer | undefined;
};

export interface ServiceHost extends MethodTable {
  /** Throws for a definition that is not in the image, and for a method served twice. */
  add<D extends ServiceDefinition>(definition: D, implementation: Implementation<D>): ServiceHost;
  /** Serves some methods of a service whose others live in another workload. */
  addPartial<D extends ServiceDefinition>(definition: D, implementation: Partial<Implementation<D>>): ServiceHost;
}

export function createServiceHost(options: ServiceHostOptions): ServiceHost {
  const methods = new Map<string, ServedMethod>();
  const addAll = (definition: ServiceDefinition, implementation: { readonly [key: string]: unknown }): void => {
    const { methodByPath, serviceByName } = readContract();
    const service = serviceByName.get(definition.fullName);
    for (const [key, method] of Object.entries(definition.methods)) {
      const implemented = implementation[key];
      if (implemented === undefined) continue;
      const contract = methodByPath.get(`/${definition.fullName}/${method.name}`);
      if (service === undefined || contract === undefined) throw new Error(`rpc: ${definition.fullName} is not in the contract; run \`npm run gen\``);
      if (!isFunction(implemented)) throw new Error(`rpc: ${contract.path} is implemented by ${typeof implemented}, not by a function`);
      if (methods.has(contract.path)) throw new Error(`rpc: ${contract.path} is served twice`);
      methods.set(contract.path, serve(method, contract, service, implemented.bind(implementation), options));
    }
  };
  const host: ServiceHost = {
    methods,
    add(definition, implementation) {
      addAll(definition, implementation);
      return host;
    },
    addPartial(definition, implementation) {
      addAll(definition, implementation);
      return host;
    },
  };
  return host;
}

type Implemented = (request: unknown, context: CallContext) => unknown;

/** Whether it has the right parameters is what `Implementation<D>` has checked. */
const isFunction = (value: unknown): value is Implemented => typeof value === "function";

function serve(
  method: MethodDefinition,
  contract: MethodContract,
  service: ServiceContract,
  implementation: Implemented,
  options: ServiceHostOptions,
): ServedMethod {
  const { path } = contract;
  const decode = (bytes: Uint8Array): unknown => decodeRequest(method, contract, bytes);
  const encode = (response: unknown): Uint8Array => encodeResponse(method, contract, response);

  if (method.requestStream && method.responseStream) throw new Error(`rpc: ${path} streams both ways; no transport carries that`);
  if (method.requestStream) {
    return {
      kind: "client_stream",
      path,
      handle: (requests, call) =>
        observed(contract, service, call, options, async (context) =>
          encode(await raceSignal(promised(implementation(decodeAll(requests, decode), context)), context.signal)),
        ),
    };
  }
  if (method.responseStream) {
    return {
      kind: "server_stream",
      path,
      async *handle(request, call) {
        const { context, end } = admit(contract, service, call, options);
        try {
          for await (const response of untilAborted(iterable(implementation(decode(request), context), path), context.signal)) yield encode(response);
          end("ok");
        } catch (error) {
          throw end(error);
        } finally {
          // A consumer that stops early runs no catch and reaches no end.
          end("ok");
        }
      },
    };
  }
  return {
    kind: "unary",
    path,
    handle: (request, call) =>
      observed(contract, service, call, options, async (context) =>
        encode(await raceSignal(promised(implementation(decode(request), context)), context.signal)),
      ),
  };
}

async function observed(
  contract: MethodContract,
  service: ServiceContract,
  call: IncomingCall,
  options: ServiceHostOptions,
  handle: (context: CallContext) => Promise<Uint8Array>,
): Promise<Uint8Array> {
  const { context, end } = admit(contract, service, call, options);
  try {
    const bytes = await handle(context);
    end("ok");
    return bytes;
  } catch (error) {
    throw end(error);
  }
}

type Admitted = {
  readonly context: CallContext;
  /** Ends the deadline and reports the call, once; answers the error that may leave. */
  readonly end: (outcome: unknown) => OneDataError;
};

/** Throws what the caller is told if the call is not admitted. */
function admit(contract: MethodContract, service: ServiceContract, call: IncomingCall, options: ServiceHostOptions): Admitted {
  const startedAtMs = performance.now();
  const { path, policy } = contract;
  const deadline = startDeadline(path, Math.min(call.timeoutMs ?? policy.timeoutMs, policy.timeoutMs), call.signal);
  const given = call.metadata[HEADER.traceparent];
  const span = startServerSpan({ tracer: options.tracer, traceparent: given, path });
  let caller = "";
  let answered: OneDataError | undefined;
  const end = (outcome: unknown): OneDataError => {
    if (answered !== undefined) return answered;
    deadline[Symbol.dispose]();
    answered = outcome === "ok" ? OK : toAnswer(outcome, deadline.signal, path, options);
    span?.end(outcome === "ok" ? undefined : answered);
    options.onCall?.({ path, caller, code: outcome === "ok" ? "ok" : answered.code, durationMs: performance.now() - startedAtMs });
    return answered;
  };
  try {
    caller = options.authenticate(call.metadata);
    if (!service.callers.includes(caller)) {
      throw new OneDataError(
        "auth.caller_denied",
        `${path}: ${JSON.stringify(caller)} may not call ${service.name}; its callers are ${service.callers.join(", ")}`,
      );
    }
    const identity = readIdentity(call.metadata);
    if (!policy.anonymous && !service.internal && identity === undefined)
      throw new OneDataError("auth.unauthenticated", `${path}: the call names no tenant`);
    const missing = policy.scopes.filter((scope) => scope !== MESH_SCOPE && identity?.scopes.includes(scope) !== true);
    if (!policy.anonymous && missing.length > 0)
      throw new OneDataError("auth.scope_missing", `${contract.name} needs the scope ${missing.join(" ")}; ask for a token that has it`);
    const { metadata } = call;
    const traceparent = span?.traceparent ?? given;
    return { context: createCallContext({ identity, caller, metadata, traceparent, signal: deadline.signal, deadlineAtMs: deadline.atMs }), end };
  } catch (error) {
    throw end(error);
  }
}

/** Held by every workload that has passed authentication. */
const MESH_SCOPE = "mesh:call";

const OK = new OneDataError("internal", "the call succeeded");

function toAnswer(error: unknown, signal: AbortSignal, path: string, options: ServiceHostOptions): OneDataError {
  const known = OneDataError.from(error);
  // A deadline that has passed is the cause of whatever the implementation made of its aborted signal.
  if (signal.aborted && (known.code === "internal" || known.code === "aborted")) return OneDataError.from(signal.reason);
  if (known.code !== "internal" || known instanceof RemoteError) return known;
  const instance = randomUUID();
  options.onInternalError?.(error, { path, instance });
  return new RemoteError("internal", "an unexpected error; the log names its cause", { cause: error, instance });
}

function decodeRequest(method: MethodDefinition, contract: MethodContract, bytes: Uint8Array): unknown {
  let request: unknown;
  try {
    request = method.requestType.decode(bytes);
  } catch (error) {
    throw new OneDataError("request.malformed", `${contract.path}: the request is no ${method.requestType.$type}`, { cause: error });
  }
  const violations = validate(method.requestType.$type, request);
  if (violations.length === 0) return request;
  const first = violations[0];
  throw new OneDataError(
    "request.invalid",
    `${contract.name}: ${first?.pointer ?? ""} ${first?.detail ?? ""}${violations.length > 1 ? `, and ${violations.length - 1} more` : ""}`,
    { violations },
  );
}

function encodeResponse(method: MethodDefinition, contract: MethodContract, response: unknown): Uint8Array {
  const bytes = method.responseType.encode(method.responseType.fromPartial(response)).finish();
  if (bytes.length <= MAX_MESSAGE_BYTES) return bytes;
  throw new OneDataError(
    "request.too_large",
    `${contract.path}: the answer would have ${bytes.length} bytes, a call carries at most ${MAX_MESSAGE_BYTES}; ask for less`,
  );
}

async function* decodeAll(requests: AsyncIterable<Uint8Array>, decode: (bytes: Uint8Array) => unknown): AsyncGenerator<unknown, void, undefined> {
  for await (const request of requests) yield decode(request);
}

const promised = (value: unknown): Promise<unknown> => Promise.resolve(value);

function iterable(value: unknown, path: string): AsyncIterable<unknown> {
  if (isAsyncIterable(value)) return value;
  throw new Error(`rpc: ${path} answers a stream, its implementation gave ${typeof value}`);
}

const isAsyncIterable = (value: unknown): value is AsyncIterable<unknown> =>
  typeof value === "object" && value !== null && Symbol.asyncIterator in value;
