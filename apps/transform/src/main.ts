/** The transform service as a process of its own, over gRPC. */
import { createLogger, readConfig, runUntilSignal } from "@onedata/mesh";
import { runTransform, transformSchema } from "./run-transform.ts";

const logger = createLogger({ name: "transform" });
await runUntilSignal((signal) => runTransform(readConfig(transformSchema, process.env, process.argv.slice(2)), logger, signal), { logger });
