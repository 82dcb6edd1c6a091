/**
 * Which rows of the sinks' ledgers nobody needs any more: those of batches that retention has dropped. A batch that something still refers to (a queue row, an
 * open dead letter, an open job) is among the held rows, and its ledger rows stay with it.
 */
import type { Sql } from "../connection.ts";
import { listPartitions } from "./partitions.ts";

export type LedgerFloor = { readonly below: bigint; readonly keep: readonly bigint[] };

/** More held batches than this: nothing is forgotten until there are fewer. */
const MOST_KEPT = 20_000;

/** `undefined` = nothing can be told now. */
export async function readLedgerFloor(sql: Sql): Promise<LedgerFloor | undefined> {
  const below = (await listPartitions(sql, ["batches"])).find(({ lower }) => lower !== undefined)?.lower;
  if (below === undefined) return undefined;
  const rows = await sql<{ id: bigint }[]>`select id from onedata.batches where id < ${below} limit ${MOST_KEPT + 1}`;
  // After the read: while rows are out of sight, they were so before it too, or are only now.
  const [state] = await sql<{ moving: boolean }[]>`select onedata.old_rows_are_moving() as moving`;
  if (state?.moving !== false || rows.length > MOST_KEPT) return undefined;
  return { below, keep: rows.map(({ id }) => id) };
}

/** Over all tenants: connections that may lead to a ledger. */
export async function listLedgerConnections(sql: Sql): Promise<{ tenantId: bigint; name: string }[]> {
  const rows = await sql<{ tenant_id: bigint; name: string }[]>`
    select tenant_id, name from onedata.connections where kind = 'postgres' order by tenant_id, name limit 10000`;
  return rows.map(({ tenant_id, name }) => ({ tenantId: tenant_id, name }));
}
