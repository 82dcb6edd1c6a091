/**
 * The query of a lookup: all keys of a call in one statement, at most two rows per key, and of each row the taken columns as one JSON text.
 *
 * The parameter is cast to the column's type, never the column to text: an index on the column serves it. Keys are joined, not compared by `= any`: each row
 * comes back with the very text of its key, whatever the type makes of it ("047" and 47), and where there is no index one hash join replaces a comparison of
 * every row with every key.
 */
import { isJsonObject } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import type { Client } from "../postgres/clients.ts";
import { quoteName } from "../postgres/ledger.ts";
import { toSqlFailure } from "../postgres/sqlstate.ts";
import type { TableName } from "./columns.ts";
import type { FoundRow } from "./lookup.ts";

/** Of one statement; a call has at most as many records, unless steps before this one have made more of them. */
const MAX_KEYS = 1_000;
/** Of the taken columns of one row, as JSON. */
export const MAX_ROW_BYTES = 32 * 1024;

export type RowsWanted = TableName & {
  readonly column: string;
  readonly type: string;
  readonly take: readonly string[];
  readonly keys: readonly string[];
  readonly checksInput: boolean;
};

/** Throws the driver's errors. */
export async function findRows(client: Client, wanted: RowsWanted): Promise<Map<string, FoundRow>> {
  const found = new Map<string, FoundRow>();
  // Neither can be in a text of Postgres.
  const keys = wanted.keys.filter((key) => !key.includes("\0") && !/\p{Cs}/u.test(key));
  const text = toStatement(wanted);
  // Once also for no key at all: whoever checks a step wants to know whether the statement works.
  for (let from = 0; from === 0 || from < keys.length; from += MAX_KEYS)
    await findSome(client, { text, keys: keys.slice(from, from + MAX_KEYS), parts: !wanted.checksInput }, found);
  return found;
}

function toStatement({ schema, table, column, type, take, checksInput }: RowsWanted): string {
  const columns = take.map((name, i) => ({ inner: `t.${quoteName(name)} as c${i}`, outer: `hits.c${i} as ${quoteName(name)}` }));
  const quotedType = `'${type.replaceAll("'", "''")}'`;
  return `with keys as materialized (
  select k, k::${type} as v from json_array_elements_text($1::text::json) as given(k)${checksInput ? ` where pg_catalog.pg_input_is_valid(k, ${quotedType})` : ""}
), hits as (
  select keys.k, row_number() over (partition by keys.k) as nth, ${columns.map(({ inner }) => inner).join(", ")}
  from keys join ${quoteName(schema)}.${quoteName(table)} t on t.${quoteName(column)} = keys.v
)
select hits.k, octet_length(made.json) as bytes, case when octet_length(made.json) <= ${MAX_ROW_BYTES} and hits.nth = 1 then made.json end as json
from hits cross join lateral (select row_to_json(taken)::text as json from (select ${columns.map(({ outer }) => outer).join(", ")}) as taken) as made
where hits.nth <= 2`;
}

type Part = { readonly text: string; readonly keys: readonly string[]; readonly parts: boolean };

/** Older servers fail the whole statement for one key that is no value of the type: halves find it. */
async function findSome(client: Client, { text, keys, parts }: Part, found: Map<string, FoundRow>): Promise<void> {
  try {
    const rows = await client.query<{ k: string; bytes: number; json: string | null }>(text, [JSON.stringify(keys)]);
    for (const { k, bytes, json } of rows) found.set(k, found.has(k) ? { kind: "ambiguous" } : toRow(json, bytes));
  } catch (error) {
    if (!parts || keys.length === 0 || !IS_NO_VALUE.test(toSqlFailure(error).code)) throw error;
    if (keys.length === 1) return;
    const middle = keys.length >> 1;
    await findSome(client, { text, keys: keys.slice(0, middle), parts }, found);
    await findSome(client, { text, keys: keys.slice(middle), parts }, found);
  }
}

/** Data exceptions, and a domain's check. */
const IS_NO_VALUE = /^(?:22...|23514)$/;

function toRow(json: string | null, bytes: number): FoundRow {
  const row = json === null ? undefined : parseJson(json);
  return isJsonObject(row) ? { kind: "row", row, bytes } : { kind: "too_large", bytes };
}
