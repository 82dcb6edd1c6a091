/** `onedata.outputs`: results kept in the platform itself, readable through the API. The engine writes them in its own completion, under its fence: exact, and no second commit. */
import { configViolations, createConfigReader } from "../config-reader.ts";
import type { Sink } from "../sink.ts";

export const onedataOutputs: Sink = {
  description: {
    name: "onedata.outputs",
    title: "Keep results in OneData",
    doc: "Keeps every result; read them with `GET /v1/pipelines/{pipeline}/outputs`. The sink of a pipeline that names none. Each event takes effect once.",
    shape: "map",
    effects: "write",
    configSchema: { $schema: "https://json-schema.org/draft/2020-12/schema", type: "object", additionalProperties: false, properties: {} },
    examples: [{ name: "as it is", config: {}, input: { id: 1 }, outputs: [{ id: 1 }] }],
  },
  handledBy: "engine",
  check: ({ config }) => Promise.resolve(configViolations(() => createConfigReader("onedata.outputs", config).done())),
};
