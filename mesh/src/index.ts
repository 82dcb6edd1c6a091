/** How services are hosted, found, called and governed. Adapters (`transport/grpc`, `transport/worker`) are loaded by `openTransport` and `serve` when an address asks for them. */

export { type ConfigOf, describeConfig, type Environment, readConfig, type Schema, type Setting, setting } from "./host/config.ts";
export { toOperation } from "./host/describe.ts";
export { checkReady, type HealthReport, type HealthServer, listenOn, openHealthServer } from "./host/health.ts";
export { logCalls } from "./host/log-calls.ts";
export { createLogger, type LogFields, type Logger, type LoggerOptions, type LogLevel, redactText } from "./host/logger.ts";
export { type RunOptions, runUntilSignal } from "./host/run-until-signal.ts";
export { NO_TELEMETRY, openProcessTelemetry, type TelemetrySettings, telemetrySettings } from "./host/telemetry.ts";
export { aborted, sleep } from "./host/wait.ts";
export { type Authenticate, byMeshIdentity, bySharedSecret } from "./rpc/authenticate.ts";
export type { CallContext } from "./rpc/call-context.ts";
export { type CallOptions, type ClientOptions, createClient } from "./rpc/client.ts";
export type {
  Client,
  ClientMethod,
  Implementation,
  ImplementationMethod,
  MethodDefinition,
  RequestInit,
  RequestOf,
  ResponseInit,
  ResponseOf,
  ServiceDefinition,
} from "./rpc/definition.ts";
export { HEADER, type Identity, identityMetadata, type Metadata, readIdentity } from "./rpc/metadata.ts";
export { decodeProblem, encodeProblem, PROBLEM_TRAILER, RemoteError } from "./rpc/problem.ts";
export { createServiceHost, type ObservedCall, type ServiceHost, type ServiceHostOptions } from "./rpc/service-host.ts";
export { type IncomingCall, MAX_MESSAGE_BYTES, type MethodTable, type ServedMethod, type Transport, type TransportCall } from "./rpc/transport.ts";
export { createInprocDirectory, createInprocTransport, type InprocDirectory } from "./transport/inproc/inproc.ts";
export { type Listening, type ListenOptions, listen, openTransport, type TransportDeps } from "./transport/open-transport.ts";
export { readWorkerStart, serveWorker, type WorkerStart } from "./transport/worker/server.ts";
