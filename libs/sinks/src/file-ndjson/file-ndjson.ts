/** `file.ndjson`: results as files of one JSON value per line, written by the exporter from the outputs of completed events. */
import { configViolations } from "../config-reader.ts";
import { ndjsonConfigSchema, readFileConfig } from "../file/file-config.ts";
import type { Sink } from "../sink.ts";

export const fileNdjson: Sink = {
  description: {
    name: "file.ndjson",
    title: "NDJSON files",
    doc: "Writes results as NDJSON files under the tenant's folder. A file appears when it is full or old enough, whole, and named by the range of outputs it holds. Each event takes effect once.",
    shape: "map",
    effects: "write",
    configSchema: ndjsonConfigSchema,
    examples: [{ name: "a folder", config: { path: "exports/orders" }, input: { id: 1 }, outputs: [{ id: 1 }] }],
  },
  handledBy: "engine",
  check: ({ config }) => Promise.resolve(configViolations(() => readFileConfig("file.ndjson", config))),
};
