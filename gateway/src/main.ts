/** The gateway as a process of its own. */
import { createLogger, readConfig, runUntilSignal } from "@onedata/mesh";
import { gatewaySchema, runGateway } from "./run-gateway.ts";

const logger = createLogger({ name: "gateway" });
await runUntilSignal((signal) => runGateway(readConfig(gatewaySchema, process.env, process.argv.slice(2)), logger, signal), { logger });
