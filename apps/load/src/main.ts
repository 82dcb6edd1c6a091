/** The load service as a process of its own, over gRPC. */
import { createLogger, readConfig, runUntilSignal } from "@onedata/mesh";
import { loadSchema, runLoad } from "./run-load.ts";

const logger = createLogger({ name: "load" });
await runUntilSignal((signal) => runLoad(readConfig(loadSchema, process.env, process.argv.slice(2)), logger, signal), { logger });
