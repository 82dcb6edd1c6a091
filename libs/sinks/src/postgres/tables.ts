/** What the database says of a table's columns, cached per pool. Read from pg_catalog: information_schema hides generated and identity columns' nature and costs ten times as much. */
import type { Client } from "./clients.ts";

export type TableName = { readonly schema: string; readonly table: string };

export type Column = {
  readonly name: string;
  /** As `format_type` prints it, with its modifier: `character varying(5)`. */
  readonly type: string;
  readonly hasDefault: boolean;
  readonly notNull: boolean;
  /** false: generated, or identity always. */
  readonly writable: boolean;
};

export type Table = TableName & { readonly columns: ReadonlyMap<string, Column>; readonly readAtMs: number };

export const tableKey = (name: TableName): string => JSON.stringify([name.schema, name.table]);

export interface Tables {
  /** Those that exist, by `tableKey`. */
  read(client: Client, names: readonly TableName[]): Promise<ReadonlyMap<string, Table>>;
  forget(name: TableName): void;
}

const MAX_AGE_MS = 60_000;

export function createTables(nowMs: () => number): Tables {
  const cache = new Map<string, Table>();
  return {
    async read(client, names) {
      const wanted = new Map(names.map((name) => [tableKey(name), name]));
      const missing = [...wanted].filter(([key]) => nowMs() - (cache.get(key)?.readAtMs ?? -MAX_AGE_MS) >= MAX_AGE_MS).map(([, name]) => name);
      if (missing.length > 0) {
        for (const name of missing) cache.delete(tableKey(name));
        for (const table of await readTables(client, missing, nowMs())) cache.set(tableKey(table), table);
      }
      const found = new Map<string, Table>();
      for (const key of wanted.keys()) {
        const table = cache.get(key);
        if (table !== undefined) found.set(key, table);
      }
      return found;
    },
    forget(name) {
      cache.delete(tableKey(name));
    },
  };
}

async function readTables(client: Client, names: readonly TableName[], readAtMs: number): Promise<readonly Table[]> {
  const rows = await client.query<{ s: string; t: string; name: string; type: string; has_default: boolean; not_null: boolean; writable: boolean }>(
    `select r.s, r.t, a.attname::text as name, pg_catalog.format_type(a.atttypid, a.atttypmod) as type,
  a.atthasdef or a.attidentity <> '' as has_default, a.attnotnull as not_null, a.attgenerated = '' and a.attidentity <> 'a' as writable
from json_to_recordset($1::text::json) as r(s text, t text)
join pg_catalog.pg_namespace n on n.nspname = r.s
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = r.t and c.relkind in ('r', 'p', 'v', 'f')
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
order by r.s, r.t, a.attnum`,
    [JSON.stringify(names.map((name) => ({ s: name.schema, t: name.table })))],
  );
  const tables = new Map<string, { schema: string; table: string; columns: Map<string, Column>; readAtMs: number }>();
  for (const row of rows) {
    const key = tableKey({ schema: row.s, table: row.t });
    const table = tables.get(key) ?? { schema: row.s, table: row.t, columns: new Map(), readAtMs };
    table.columns.set(row.name, { name: row.name, type: row.type, hasDefault: row.has_default, notNull: row.not_null, writable: row.writable });
    tables.set(key, table);
  }
  return [...tables.values()];
}
