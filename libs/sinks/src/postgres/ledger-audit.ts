/**
 * Reads ledgers for whoever compares them with what the platform knows.
 * Invariants: it only reads; a database without a ledger has an empty one; a tenant's credentials reach that tenant's database and nothing else is asked of it.
 */
import { OneDataError } from "@onedata/core";
import type { ConnectionConfig } from "../sink.ts";
import { addressOf, readPostgresConnection } from "./connection-config.ts";
import { type LedgerEntry, type LedgerKey, ledgerName, readLedger } from "./ledger.ts";
import { createPools, type PoolsOptions, type SinkDatabase } from "./pools.ts";
import { shorten, toSqlFailure } from "./sqlstate.ts";

export type LedgerQuestion = { readonly tenant: string; readonly installation: string; readonly signal: AbortSignal };

export interface LedgerAudit extends AsyncDisposable {
  /** Ordinals that are done, by `<batch>/<generation>/<sink>`. Throws `sink.unavailable`. */
  readDone(
    connection: ConnectionConfig,
    question: LedgerQuestion & { readonly keys: readonly LedgerKey[] },
  ): Promise<Map<string, ReadonlySet<number>>>;
  /** The newest rows from `fromBatchId` on, newest first. */
  readRecent(
    connection: ConnectionConfig,
    question: LedgerQuestion & { readonly fromBatchId: bigint; readonly limit: number },
  ): Promise<readonly LedgerEntry[]>;
}

const UNDEFINED_TABLE = "42P01";

/** `allowedAddresses` as the load service has them; absent = any address. */
export function createLedgerAudit(options: Pick<PoolsOptions, "allowedAddresses"> = {}): LedgerAudit {
  // Read-only, and small beside what the load service has open.
  const pools = createPools({
    ...options,
    maxPools: 4,
    connectionsPerPool: 1,
    connectTimeoutMs: 3_000,
    statementTimeoutMs: 5_000,
    lockTimeoutMs: 1_000,
  });
  const ask = async <T>(
    { config }: ConnectionConfig,
    { tenant, signal }: LedgerQuestion,
    empty: T,
    read: (database: SinkDatabase) => Promise<T>,
  ): Promise<T> => {
    const connection = readPostgresConnection(config);
    try {
      return await pools.use({ connection, tenant, signal }, read);
    } catch (error) {
      if (error instanceof OneDataError) throw error;
      const { code, message } = toSqlFailure(error);
      if (code === UNDEFINED_TABLE) return empty;
      throw new OneDataError("sink.unavailable", `${addressOf(connection)}: ${shorten(message, 300)}`, { cause: error });
    }
  };
  return {
    readDone: (connection, question) =>
      ask(connection, question, new Map<string, ReadonlySet<number>>(), (database) => readLedger(database, database.schema, question)),
    readRecent: (connection, question) => ask(connection, question, [], (database) => readRows(database, question)),
    [Symbol.asyncDispose]: () => pools[Symbol.asyncDispose](),
  };
}

async function readRows(
  database: SinkDatabase,
  { installation, fromBatchId, limit }: { readonly installation: string; readonly fromBatchId: bigint; readonly limit: number },
): Promise<readonly LedgerEntry[]> {
  const rows = await database.query<{ batch_id: string; generation: number; sink: string; ordinals: string | null }>(
    `select l.batch_id::text, l.generation, l.sink,
            (select string_agg(n::text, ',') from unnest(l.done) d cross join lateral generate_series(lower(d), upper(d) - 1) n) as ordinals
       from ${ledgerName(database.schema)} l where l.installation = $1::uuid and l.batch_id >= $2::bigint order by l.batch_id desc limit $3::int`,
    [installation, String(fromBatchId), String(limit)],
  );
  return rows.map((row) => ({
    batchId: BigInt(row.batch_id),
    generation: row.generation,
    sink: row.sink,
    done: row.ordinals === null ? [] : row.ordinals.split(",").map(Number),
  }));
}
