/** Config of the file sinks. */
import type { JsonObject } from "@onedata/core";
import { createConfigReader } from "../config-reader.ts";
import type { FileFormat } from "./format.ts";

export type FileSinkConfig = { readonly path: string; readonly format: FileFormat; readonly maxBytes: number; readonly maxAgeMs: number };

const common: JsonObject = {
  path: {
    type: "string",
    minLength: 1,
    maxLength: 200,
    pattern: "^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$",
    description: "folder below the tenant's own, e.g. exports/orders",
  },
  maxMegabytes: { type: "integer", minimum: 1, maximum: 1024, default: 64, description: "a file is closed at this size" },
  maxMinutes: { type: "integer", minimum: 1, maximum: 1440, default: 5, description: "or at this age" },
};

export const ndjsonConfigSchema: JsonObject = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  required: ["path"],
  additionalProperties: false,
  properties: common,
};

export const csvConfigSchema: JsonObject = {
  ...ndjsonConfigSchema,
  properties: {
    ...common,
    columns: { type: "array", minItems: 1, items: { type: "string" }, description: "order of columns; default: the first record's members" },
    delimiter: { enum: [",", ";", "\t", "|"], default: "," },
    header: { type: "boolean", default: true },
    escapeFormulas: {
      type: "boolean",
      default: false,
      description: "put ' before text that begins with = + - @, so that a spreadsheet does not run it",
    },
  },
};

/** Throws `config.invalid`. */
export function readFileConfig(kind: "file.ndjson" | "file.csv", config: JsonObject): FileSinkConfig {
  const reader = createConfigReader(kind, config);
  const path = reader.requiredText("path");
  const problem = path === "" ? undefined : pathProblem(path);
  if (problem !== undefined) reader.problem("path", problem);
  const maxBytes = reader.integer("maxMegabytes", { min: 1, max: 1024, fallback: 64 }) * 1024 * 1024;
  const maxAgeMs = reader.integer("maxMinutes", { min: 1, max: 1440, fallback: 5 }) * 60_000;
  let format: FileFormat = { kind: "ndjson" };
  if (kind === "file.csv") {
    const columns = reader.texts("columns");
    format = {
      kind: "csv",
      delimiter: reader.choice("delimiter", [",", ";", "\t", "|"], ","),
      header: reader.flag("header", true),
      escapeFormulas: reader.flag("escapeFormulas", false),
      ...(columns === undefined ? {} : { columns }),
    };
  }
  reader.done();
  return { path, format, maxBytes, maxAgeMs };
}

/** Names only: nothing that climbs, nothing hidden, nothing a file system reads in its own way. */
export function pathProblem(path: string): string | undefined {
  return path.length <= 200 && /^[A-Za-z0-9_][A-Za-z0-9_.-]*(?:\/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$/.test(path)
    ? undefined
    : `path is ${JSON.stringify(path.slice(0, 80))}; it must be folder names of letters, digits, _ . and -, separated by /, none of them beginning with a dot`;
}
