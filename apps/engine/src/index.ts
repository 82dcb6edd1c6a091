export { createConnectionReader, type ReadConnection } from "./connection-reader.ts";
export { createEngine, type Engine, type EngineOptions, type EnginePorts } from "./engine.ts";
export type { EngineLog } from "./engine-log.ts";
export type { EngineBroker } from "./relay/broker-link.ts";
export { openEngineBroker } from "./relay/open-engine-broker.ts";
export { channelOf } from "./relay/seats.ts";
export type { LoadClient, ServiceClients, TransformClient } from "./service-calls.ts";
