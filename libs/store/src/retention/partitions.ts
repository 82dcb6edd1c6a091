/**
 * Partitions as the catalogue of Postgres knows them, and taking one out without holding anybody up.
 *
 * Invariants:
 * 1. `detach` never waits longer than the lock timeout of its connection. A plain DETACH would wait for every open transaction while all new ones wait behind
 *    it; CONCURRENTLY waits with no lock that a read or a write needs. What it could not finish is finished by the next call.
 * 2. Table names in statements come from the catalogue, never from outside.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { OneDataError } from "@onedata/core";
import { connect, type Sql, type Store, sqlStateOf, type Transaction } from "../connection.ts";

/** With the column that rows are placed by. The order is that of `drop-days.ts`: `runs` first. */
export const EVENT_TABLES = { runs: "batch_id", outputs: "batch_id", batch_refs: "batch_id", events: "batch_id", batches: "id" } as const;
export type EventTable = keyof typeof EVENT_TABLES;
export const eventTables: readonly EventTable[] = ["runs", "outputs", "batch_refs", "events", "batches"];

export type Partition = {
  readonly parent: string;
  readonly table: string;
  /** undefined = no lower bound: the partition of held rows. */
  readonly lower: bigint | undefined;
  readonly upper: bigint;
  /** A detach has begun and did not end: reads and writes of the parent do not see it any more. */
  readonly isPending: boolean;
};

/** By upper bound. */
export async function listPartitions(sql: Sql | Transaction, parents: readonly string[]): Promise<Partition[]> {
  const rows = await sql<{ parent: string; child: string; pending: boolean; bound: string | null }[]>`
    select p.relname as parent, c.relname as child, i.inhdetachpending as pending, pg_get_expr(c.relpartbound, c.oid) as bound
      from pg_inherits i join pg_class p on p.oid = i.inhparent join pg_class c on c.oid = i.inhrelid
     where p.relnamespace = 'onedata'::regnamespace and p.relname = any(${`{${parents.join(",")}}`}::text[]) and p.relkind = 'p'`;
  return rows
    .flatMap(({ parent, child, pending, bound }): Partition[] => {
      const match = /^FOR VALUES FROM \((MINVALUE|'(\d+)')\) TO \('(\d+)'\)$/.exec(bound ?? "");
      if (match === null) return [];
      return [
        { parent, table: child, isPending: pending, lower: match[2] === undefined ? undefined : BigInt(match[2]), upper: BigInt(match[3] ?? "0") },
      ];
    })
    .sort((a, b) => (a.upper < b.upper ? -1 : a.upper > b.upper ? 1 : 0));
}

/** On a connection of its own with a lock timeout, outside of a transaction. `waiting`: an open transaction is in the way; call again. */
export async function detach(sql: Sql, parent: string, table: string): Promise<"done" | "waiting"> {
  const [attached] = await sql<{ pending: boolean }[]>`
    select i.inhdetachpending as pending from pg_inherits i
     where i.inhparent = to_regclass(${`onedata.${quote(parent)}`}) and i.inhrelid = to_regclass(${`onedata.${quote(table)}`})`;
  if (attached === undefined) return "done";
  try {
    await sql.unsafe(
      `alter table onedata.${quote(parent)} detach partition onedata.${quote(table)} ${attached.pending ? "finalize" : "concurrently"}`,
    );
    return "done";
  } catch (error) {
    if (isLockTimeout(error)) return "waiting";
    throw error;
  }
}

/** Also a deadlock, and what another process says that is at the same work: that a detach is pending, or that the table is gone. */
export const isLockTimeout = (error: unknown): boolean => ["55P03", "57014", "40P01", "55000", "42P01"].includes(sqlStateOf(error) ?? "");

export function quote(name: string): string {
  if (!/^[a-z_][a-z0-9_]*$/.test(name)) throw new OneDataError("internal", `${JSON.stringify(name)} is no name of a table of ours`);
  return `"${name}"`;
}

/**
 * Runs `work` on a client of its own with one connection that gives up waiting for locks. Not a reserved connection of the pool: the driver ends the process
 * when a statement is sent on one that was lost. It may also never answer once a connection was cut between two statements; so somebody else looks whether
 * the server still has the connection, and gives up when it has not: the work is found half done by whoever comes next.
 */
export async function withLockTimeout<T>({ url, sql }: Pick<Store, "url" | "sql">, timeoutMs: number, work: (sql: Sql) => Promise<T>): Promise<T> {
  const applicationName = `onedata-retention-${randomUUID().slice(0, 8)}`;
  const parameters = { lock_timeout: `${Math.max(1, Math.round(timeoutMs))}ms`, idle_in_transaction_session_timeout: "60s" };
  const client = connect(url, { max: 1, applicationName, parameters });
  const over = new AbortController();
  try {
    return await Promise.race([work(client), whenLost(sql, applicationName, over.signal)]);
  } finally {
    over.abort();
    await client.end({ timeout: 5 });
  }
}

const LOOK_MS = 15_000;

/** Rejects when the server has not had a connection of this name twice in a row. */
async function whenLost(sql: Sql, applicationName: string, over: AbortSignal): Promise<never> {
  for (let misses = 0; misses < 2; ) {
    const isOver = await pause(LOOK_MS, false, { signal: over, ref: false }).catch(() => true);
    if (isOver) return new Promise<never>(() => undefined);
    const found = await sql`select 1 from pg_stat_activity where application_name = ${applicationName} limit 1`;
    misses = found.length === 0 ? misses + 1 : 0;
  }
  throw new OneDataError("store.unavailable", "the connection that drops old data was lost");
}
