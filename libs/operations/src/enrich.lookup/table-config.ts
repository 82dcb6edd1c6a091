/** Where `enrich.lookup` looks when its config names a connection: read once, for the lookup itself and for the check of a spec. */
import { isJsonObject, type Json, type JsonObject } from "@onedata/core";
import type { TableQuery } from "../operation.ts";
import { text, textMembers, texts } from "../read-config.ts";

export type LookupTable = Pick<TableQuery, "schema" | "table" | "column" | "take" | "maxAgeMs">;

const PLAIN_NAME = /^(?:[A-Za-z_][A-Za-z0-9_]*\.)*([A-Za-z_][A-Za-z0-9_]*)$/;
const DEFAULT_CACHE_SECONDS = 10;

/** The column of the member's own name, where it is not said; `undefined` when it cannot be guessed. */
export function columnOf(config: JsonObject): string | undefined {
  return text(config, "column") ?? PLAIN_NAME.exec(text(config, "on") ?? "")?.[1];
}

/** Names as they are, without quotes. With `schema` a dot belongs to the table's name. */
export function readLookupTable(config: JsonObject): LookupTable {
  const name = text(config, "table") ?? "";
  const schema = text(config, "schema");
  const dot = schema === undefined ? name.indexOf(".") : -1;
  const seconds = config["cacheSeconds"];
  return {
    schema: schema ?? (dot > 0 ? name.slice(0, dot) : undefined),
    table: name.slice(dot > 0 ? dot + 1 : 0),
    column: columnOf(config) ?? "",
    take: takenColumns(config["take"]),
    maxAgeMs: (typeof seconds === "number" ? seconds : DEFAULT_CACHE_SECONDS) * 1_000,
  };
}

const takenColumns = (take: Json | undefined): string[] => (isJsonObject(take) ? textMembers(take).map(([column]) => column) : texts(take));

/** The table that a step wants checked; `undefined` for an operation or a config that looks into none. */
export function toLookupTable(operation: string, config: Json): LookupTable | undefined {
  if (operation !== "enrich.lookup" || !isJsonObject(config) || text(config, "connection") === undefined) return undefined;
  return readLookupTable(config);
}
