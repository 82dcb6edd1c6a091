/**
 * Drops whole months of dead letters, which carry their own payloads. Those that a job replays now keep their month until the job has ended; single letters
 * have gone to the day already (`delete-early.ts`).
 */
import type { Sql, Store } from "../connection.ts";
import { detach, isLockTimeout, listPartitions, quote, withLockTimeout } from "./partitions.ts";

const DEFAULT_LOCK_TIMEOUT_MS = 2_000;

/** Returns the tables that are gone. What is in the way is tried again by the next call. Several processes may be at it. */
export const dropMonths = (
  store: Pick<Store, "sql" | "url">,
  { cutoff, lockTimeoutMs = DEFAULT_LOCK_TIMEOUT_MS }: { readonly cutoff: Date; readonly lockTimeoutMs?: number },
): Promise<string[]> => withLockTimeout(store, lockTimeoutMs, (sql) => dropOld(sql, cutoff));

async function dropOld(sql: Sql, cutoff: Date): Promise<string[]> {
  const [bound] = await sql<{ id: bigint }[]>`select onedata.id_at(${cutoff}) as id`;
  const gone: string[] = [];
  for (const table of await listDetached(sql)) if (await drop(sql, table)) gone.push(table);
  for (const { table, upper } of await listPartitions(sql, ["dead_letters"])) {
    if (upper > (bound?.id ?? 0n)) continue;
    const [replaying] = await sql.unsafe(`select 1 from onedata.${quote(table)} where state = 'replaying' limit 1`);
    if (replaying !== undefined) continue;
    if ((await detach(sql, "dead_letters", table)) === "done" && (await drop(sql, table))) gone.push(table);
  }
  return gone;
}

/** Of a process that ended between the two steps. */
async function listDetached(sql: Sql): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select relname as name from pg_class where relnamespace = 'onedata'::regnamespace and relkind = 'r' and not relispartition and relname ~ '^dead_letters_p[0-9]{6}$'
       and not exists (select from pg_inherits where inhrelid = pg_class.oid)`;
  return rows.map(({ name }) => name);
}

async function drop(sql: Sql, table: string): Promise<boolean> {
  try {
    await sql.unsafe(`drop table if exists onedata.${quote(table)}`);
    return true;
  } catch (error) {
    if (isLockTimeout(error)) return false;
    throw error;
  }
}
