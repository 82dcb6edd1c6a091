/** Servers for tests, scenarios and benches. Non-duty: production code never imports this. */

export { type KubemqDoubleProcess, openKubemqDoubleProcess } from "./kubemq/double/double-process.ts";
export type { Fault, FaultKind, FaultPoint, Faults } from "./kubemq/double/faults.ts";
export { type DoubleOptions, type KubemqDouble, openKubemqDouble } from "./kubemq/double/server.ts";
export { type KubemqServer, kubemqProgram, openKubemqServer } from "./kubemq/kubemq-server.ts";
export { findNatsServer, type NatsServer, type NatsServerOptions, openNatsServer } from "./nats/nats-server.ts";
