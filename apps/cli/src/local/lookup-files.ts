/**
 * Lookup tables from files: CSV, or a JSON array of objects. Named ones (`--lookup name=file`), else `lookups/<name>.csv` or `.json` beside the spec.
 * Answers as the platform does: the first row of a key wins, keys compare as text.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { isJsonObject, type Json, type JsonObject, OneDataError } from "@onedata/core";
import { CsvSplitter, parseJson } from "@onedata/formats";
import type { LookupPort } from "@onedata/operations";
import { exitCodes, Failure } from "../failure.ts";

export type LookupFiles = LookupPort & { has(table: string): boolean };

type Table = { readonly rows: readonly JsonObject[]; readonly indexes: Map<string, ReadonlyMap<string, JsonObject>> };

export function openLookupFiles(named: Readonly<Record<string, string>>, specPath: string): LookupFiles {
  const tables = new Map<string, Table>();
  const folder = join(dirname(specPath), "lookups");
  const pathOf = (table: string): string | undefined =>
    Object.hasOwn(named, table) ? named[table] : [join(folder, `${table}.csv`), join(folder, `${table}.json`)].find((path) => existsSync(path));
  const open = (name: string): Table => {
    const path = pathOf(name);
    if (path === undefined)
      throw new OneDataError(
        "lookup.not_found",
        `no file for the lookup table ${JSON.stringify(name)}: say --lookup ${name}=<file.csv>, or put it into ${folder}`,
      );
    const known = tables.get(path) ?? { rows: readRows(path), indexes: new Map() };
    tables.set(path, known);
    return known;
  };
  return {
    has: (name) => pathOf(name) !== undefined,
    async get(name, column, keys) {
      const index = indexOf(open(name), name, column);
      return new Map(
        keys.flatMap((key): [string, JsonObject][] => {
          const row = index.get(key);
          return row === undefined ? [] : [[key, row]];
        }),
      );
    },
  };
}

function indexOf({ rows, indexes }: Table, name: string, column: string): ReadonlyMap<string, JsonObject> {
  const columns = Object.keys(rows[0] ?? {});
  const by = column === "" ? (columns[0] ?? "") : column;
  const known = indexes.get(by);
  if (known !== undefined) return known;
  if (rows.length > 0 && !columns.includes(by)) {
    throw new OneDataError(
      "lookup.not_found",
      `lookup table ${JSON.stringify(name)} has no column ${JSON.stringify(by)}; it has ${columns.join(", ")}`,
    );
  }
  const index = new Map<string, JsonObject>();
  for (const row of rows) {
    const value = row[by];
    const key = typeof value === "object" || value === undefined ? undefined : String(value);
    if (key !== undefined && !index.has(key)) index.set(key, row);
  }
  indexes.set(by, index);
  return index;
}

function readRows(path: string): JsonObject[] {
  const content = readFileSync(path);
  if (path.endsWith(".json")) {
    const value: Json = parseJson(content.toString("utf8"));
    if (!Array.isArray(value) || !value.every(isJsonObject)) throw new Failure(`${path} must be a JSON array of objects`, exitCodes.problem);
    return value;
  }
  const splitter = new CsvSplitter();
  const rows: JsonObject[] = [];
  for (const item of [...splitter.push(content), ...splitter.end()]) {
    if (item.kind === "reject") throw new Failure(`${path}, line ${item.line}: ${item.message}`, exitCodes.problem);
    if (isJsonObject(item.value)) rows.push(item.value);
  }
  return rows;
}
