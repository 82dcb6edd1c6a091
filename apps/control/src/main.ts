/** The control plane as a process of its own, over gRPC. */
import { createLogger, readConfig, runUntilSignal } from "@onedata/mesh";
import { controlSchema, runControl } from "./run-control.ts";

const logger = createLogger({ name: "control" });
await runUntilSignal((signal) => runControl(readConfig(controlSchema, process.env, process.argv.slice(2)), logger, signal), { logger });
