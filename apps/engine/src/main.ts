/** The Event Engine as a process of its own. */
import { createLogger, readConfig, runUntilSignal } from "@onedata/mesh";
import { engineSchema, runEngine } from "./run-engine.ts";

const logger = createLogger({ name: "engine" });
await runUntilSignal((signal) => runEngine(readConfig(engineSchema, process.env, process.argv.slice(2)), logger, signal), { logger });
