/** LookupService: uploads lists for `enrich.lookup` as CSV or as a JSON array of objects. */
import { createHash } from "node:crypto";
import type { LookupServiceDefinition } from "@onedata/contracts";
import { didYouMean, isJsonObject, type Json, type JsonObject, OneDataError, setMember, type Violation } from "@onedata/core";
import { decodeUtf8, locateJsonError, parseJson, stringifyJson } from "@onedata/formats";
import type { Implementation, ResponseInit } from "@onedata/mesh";
import type { Sql } from "@onedata/store";
import { deleteLookup, getLookup, type LookupRow, listLookups, putLookup } from "@onedata/store/control";
import { toActor } from "./call.ts";
import { invalid, readCsvRows } from "./lookup-csv.ts";

type LookupMessage = ResponseInit<(typeof LookupServiceDefinition)["methods"]["getLookup"]>;

const MAX_ROWS = 200_000;

export function createLookupService({ sql }: { readonly sql: Sql }): Implementation<typeof LookupServiceDefinition> {
  return {
    async putLookup({ lookup, content, mediaType }, context) {
      const rows = await readRows(content, mediaType);
      const ndjson = rows.map((row) => stringifyJson(row)).join("\n");
      const hash = createHash("sha256").update(ndjson).digest("hex");
      return toMessage(await putLookup(sql, context.tenantId, toActor(context), { name: lookup, hash, ndjson, rows: rows.length }));
    },
    getLookup: async ({ lookup }, { tenantId }) => toMessage(await getLookup(sql, tenantId, lookup)),
    listLookups: async (_request, { tenantId }) => ({ lookups: (await listLookups(sql, tenantId)).map(toMessage) }),
    async deleteLookup({ lookup }, context) {
      await deleteLookup(sql, context.tenantId, toActor(context), lookup);
      return {};
    },
  };
}

const toMessage = (row: LookupRow): LookupMessage => ({
  name: row.name,
  rows: row.rows,
  columns: [...row.columns],
  hash: row.hash,
  updatedAt: row.updatedAt,
});

async function readRows(content: Uint8Array, mediaType: string): Promise<JsonObject[]> {
  const known = ["text/csv", "application/json"];
  const base = mediaType.split(";")[0]?.trim().toLowerCase() ?? "";
  if (!known.includes(base))
    throw new OneDataError(
      "request.unsupported_media_type",
      `a lookup table cannot be read from ${JSON.stringify(mediaType)}${didYouMean(base, known)} Send text/csv or application/json`,
    );
  const rows = base === "text/csv" ? await readCsvRows(content) : readJsonRows(content);
  if (rows.length === 0) throw invalid([{ pointer: "", code: "lookup.empty", detail: "the list has no row" }]);
  if (rows.length > MAX_ROWS)
    throw invalid([{ pointer: "", code: "lookup.too_many", detail: `the list has ${rows.length} rows; at most ${MAX_ROWS}` }]);
  return rows;
}

function decodeText(content: Uint8Array): string {
  try {
    return decodeUtf8(content);
  } catch (error) {
    throw invalid([{ pointer: "", code: "lookup.utf8", detail: OneDataError.from(error).message }]);
  }
}

/** All rows get the columns of the first, in its order; a missing value is null. */
function readJsonRows(content: Uint8Array): JsonObject[] {
  const text = decodeText(content);
  const error = locateJsonError(text);
  if (error !== undefined) throw invalid([{ pointer: "", code: "lookup.malformed", detail: `line ${error.line}: ${error.message}` }]);
  const list = parseJson(text);
  if (!Array.isArray(list)) throw invalid([{ pointer: "", code: "lookup.type", detail: "a list is a JSON array of objects" }]);
  const columns = [...new Set(list.flatMap((item) => (isJsonObject(item) ? Object.keys(item) : [])))];
  const violations: Violation[] = [];
  const rows = list.map((item, i): JsonObject => {
    const row: JsonObject = {};
    if (!isJsonObject(item)) {
      if (violations.length < 100) violations.push({ pointer: `/${i}`, code: "lookup.type", detail: "each item must be an object" });
      return row;
    }
    for (const column of columns) {
      const value: Json = item[column] ?? null;
      if (typeof value === "object" && value !== null && !("toDouble" in value) && violations.length < 100) {
        violations.push({ pointer: `/${i}/${column}`, code: "lookup.type", detail: "a value must be text, a number, true, false or null" });
      }
      setMember(row, column, value);
    }
    return row;
  });
  if (violations.length > 0) throw invalid(violations);
  return rows;
}
