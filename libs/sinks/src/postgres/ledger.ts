/**
 * The ledger of effects: which input ordinals of a source batch a sink has taken. It lives beside the tables it speaks of and is written in their transaction.
 *
 * Invariants:
 * 1. It is written FIRST and in key order, so that two writers of one batch queue on its rows and never deadlock there.
 * 2. A row merges only if nothing of it was done before. A row that does not merge is not counted: the caller rolls back, reads, and writes what is missing.
 *    (Ranges merged without this exclusion would let a stalled engine and its successor both write.)
 * The table is that of `@onedata/store/ledger`; the statements are these, because they go into a schema of choice, in one parameter, and before the client's other queries.
 */
import { LEDGER_DDL, toMultirange } from "@onedata/store/ledger";
import type { Client } from "./clients.ts";

export type LedgerKey = { readonly batchId: bigint; readonly generation: number; readonly sink: string };
export type LedgerEntry = LedgerKey & { readonly done: readonly number[] };

export const LEDGER_TABLE = "onedata_applied";

export const quoteName = (name: string): string => `"${name.replaceAll('"', '""')}"`;
export const ledgerName = (schema: string): string => `${quoteName(schema)}.${LEDGER_TABLE}`;
export const keyText = (key: LedgerKey): string => `${key.batchId}/${key.generation}/${key.sink}`;

export const ledgerDdl = (schema: string): string => LEDGER_DDL.replace(LEDGER_TABLE, ledgerName(schema));

/** True if every entry merged. False: roll back. Sent before anything that is asked of the client after this call. */
export async function mergeLedger(
  client: Client,
  schema: string,
  { installation, entries }: { installation: string; entries: readonly LedgerEntry[] },
): Promise<boolean> {
  if (entries.length === 0) return true;
  const rows = [...entries].sort(compareKeys).map((e) => ({ b: String(e.batchId), g: e.generation, s: e.sink, d: toMultirange(e.done) }));
  const result = await client.query(
    `insert into ${ledgerName(schema)} as l (installation, batch_id, generation, sink, done)
select $1::uuid, b, g, s, d from json_to_recordset($2::text::json) as r(b bigint, g int, s text, d int4multirange) order by b, g, s
on conflict (installation, batch_id, generation, sink) do update set done = l.done + excluded.done, updated_at = now() where not l.done && excluded.done`,
    [installation, JSON.stringify(rows)],
  );
  return result.count === entries.length;
}

/** What is done already, by `keyText`. */
export async function readLedger(
  client: Client,
  schema: string,
  { installation, keys }: { installation: string; keys: readonly LedgerKey[] },
): Promise<Map<string, ReadonlySet<number>>> {
  const rows = await client.query<{ batch_id: string; generation: number; sink: string; low: number; high: number }>(
    `select l.batch_id::text, l.generation, l.sink, lower(d) as low, upper(d) as high
from json_to_recordset($2::text::json) as r(b bigint, g int, s text)
join ${ledgerName(schema)} l on l.installation = $1::uuid and l.batch_id = r.b and l.generation = r.g and l.sink = r.s
cross join lateral unnest(l.done) as d`,
    [installation, JSON.stringify(keys.map((k) => ({ b: String(k.batchId), g: k.generation, s: k.sink })))],
  );
  const done = new Map<string, Set<number>>();
  for (const row of rows) {
    const key = keyText({ batchId: BigInt(row.batch_id), generation: row.generation, sink: row.sink });
    const set = done.get(key) ?? new Set<number>();
    for (let n = row.low; n < row.high; n++) set.add(n);
    done.set(key, set);
  }
  return done;
}

function compareKeys(a: LedgerKey, b: LedgerKey): number {
  if (a.batchId !== b.batchId) return a.batchId < b.batchId ? -1 : 1;
  if (a.generation !== b.generation) return a.generation - b.generation;
  return a.sink < b.sink ? -1 : a.sink > b.sink ? 1 : 0;
}
