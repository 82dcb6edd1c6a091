/** The config both Postgres sinks share, and its JSON Schema. */
import type { JsonObject } from "@onedata/core";
import { createConfigReader } from "../config-reader.ts";

export type PostgresSinkConfig = {
  readonly schema: string | undefined;
  readonly table: string;
  /** Column → member of the record, or JSON Pointer (`/address/city`). Absent = every member is a column of its name. */
  readonly columns: ReadonlyMap<string, string> | undefined;
  readonly unknownMembers: "reject" | "ignore";
  /** Present = upsert. */
  readonly key: readonly string[] | undefined;
  /** A numeric column that holds the position of the source event; an older event never overwrites a newer one. */
  readonly newerWins: string | undefined;
};

const common: JsonObject = {
  connection: { type: "string", minLength: 1, description: "name of a connection of kind postgres" },
  schema: { type: "string", minLength: 1, description: "default: the connection's schema" },
  table: { type: "string", minLength: 1, description: "`table`, or `schema.table` where schema is not given" },
  columns: {
    type: "object",
    minProperties: 1,
    additionalProperties: { type: "string", minLength: 1 },
    description: "column → member, or JSON Pointer into the record; only these are written. Default: every member goes to the column of its name",
  },
  unknownMembers: {
    enum: ["reject", "ignore"],
    default: "reject",
    description: "what to do with a member that has no column; without `columns` only",
  },
};

export const insertConfigSchema: JsonObject = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  required: ["connection", "table"],
  additionalProperties: false,
  properties: common,
};

export const upsertConfigSchema: JsonObject = {
  ...insertConfigSchema,
  required: ["connection", "table", "key"],
  properties: {
    ...common,
    key: { type: "array", minItems: 1, uniqueItems: true, items: { type: "string", minLength: 1 }, description: "columns with a unique index" },
    newerWins: {
      type: "string",
      minLength: 1,
      description: "numeric column that keeps the source event's position; an older event never overwrites a newer one",
    },
  },
};

/** Throws `config.invalid`. */
export function readPostgresSinkConfig(kind: string, config: JsonObject): PostgresSinkConfig {
  const reader = createConfigReader(kind, config);
  reader.requiredText("connection");
  const upsert = kind === "postgres.upsert";
  const schema = reader.text("schema");
  const name = reader.requiredText("table");
  // As for lookups: names as they are, without quotes; with `schema` a dot belongs to the table's name.
  const dot = schema === undefined ? name.indexOf(".") : -1;
  const result: PostgresSinkConfig = {
    schema: schema ?? (dot > 0 ? name.slice(0, dot) : undefined),
    table: name.slice(dot > 0 ? dot + 1 : 0),
    columns: reader.textMap("columns"),
    unknownMembers: reader.choice("unknownMembers", ["reject", "ignore"], "reject"),
    key: upsert ? reader.texts("key") : undefined,
    newerWins: upsert ? reader.text("newerWins") : undefined,
  };
  if (upsert && result.key === undefined && !Object.hasOwn(config, "key")) reader.problem("key", "key is required: the columns that name a row");
  for (const column of result.key ?? [])
    if (result.columns !== undefined && !result.columns.has(column))
      reader.problem("columns", `columns must say where the key column ${JSON.stringify(column)} comes from`);
  if (result.columns?.size === 0) reader.problem("columns", "columns must name at least one column");
  if (result.newerWins !== undefined && result.columns?.has(result.newerWins) === true)
    reader.problem("newerWins", "newerWins is written by the sink, so columns may not name it");
  reader.done();
  return result;
}
