/** What a database says of a table that is looked into: its columns' types, rights and indexes. Kept for a minute; unlike the sinks' `tables.ts` it knows materialized views. */
import type { Client } from "../postgres/clients.ts";
import { shorten } from "../postgres/sqlstate.ts";

export type TableName = { readonly schema: string; readonly table: string };

export type LookupColumn = {
  /** As `format_type` prints it without a modifier: a cast to `character varying(2)` would cut a longer key, which then finds a row that is not its own. */
  readonly type: string;
  readonly isReadable: boolean;
  /** First column of a whole, valid index. */
  readonly isIndexed: boolean;
};

export type LookupColumns = {
  readonly columns: ReadonlyMap<string, LookupColumn>;
  readonly canBeIndexed: boolean;
  readonly role: string;
  /** The server can tell by itself which keys are values of a type (Postgres 16). */
  readonly checksInput: boolean;
  readonly readAtMs: number;
};

/** `undefined` when the table does not exist, or its schema is closed to this role. */
export async function readColumns(client: Client, { schema, table }: TableName, readAtMs: number): Promise<LookupColumns | undefined> {
  const rows = await client.query<{ name: string; type: string; readable: boolean; indexed: boolean; kind: string; role: string; version: number }>(
    `select a.attname::text as name, pg_catalog.format_type(a.atttypid, -1) as type, c.relkind::text as kind, current_user::text as role,
  current_setting('server_version_num')::int as version, has_column_privilege(c.oid, a.attnum, 'SELECT') as readable,
  exists (select from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisvalid and i.indpred is null and i.indkey[0] = a.attnum) as indexed
from pg_catalog.pg_namespace n
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'p', 'v', 'm', 'f')
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
where n.nspname = $1 and c.relname = $2 and has_schema_privilege(n.oid, 'USAGE') order by a.attnum`,
    [schema, table],
  );
  const [first] = rows;
  if (first === undefined) return undefined;
  return {
    columns: new Map(rows.map((row) => [row.name, { type: row.type, isReadable: row.readable, isIndexed: row.indexed }])),
    canBeIndexed: first.kind === "r" || first.kind === "p" || first.kind === "m",
    role: first.role,
    checksInput: first.version >= 160_000,
    readAtMs,
  };
}

export const listColumns = ({ columns }: LookupColumns): string => shorten([...columns.keys()].join(", "), 200);
