export { createConnectionReader, type ReadConnection } from "./connection-reader.ts";
export { createEngine, type Engine, type EngineOptions, type EnginePorts } from "./engine.ts";
export type { EngineLog } from "./perform-run.ts";
export type { LoadClient, ServiceClients, TransformClient } from "./service-calls.ts";
