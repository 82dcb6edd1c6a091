/**
 * Forgets ledger rows of batches that the platform has dropped: nothing can write those effects again, so nothing has to be kept from writing them twice.
 * Which those are is the platform's to say (`below`, `keep`). Small statements; a database without a ledger has nothing to forget.
 */
import { setTimeout as pause } from "node:timers/promises";
import { OneDataError } from "@onedata/core";
import type { ConnectionConfig } from "../sink.ts";
import { addressOf, readPostgresConnection } from "./connection-config.ts";
import { ledgerName } from "./ledger.ts";
import { createPools, type PoolsOptions } from "./pools.ts";
import { shorten, toSqlFailure } from "./sqlstate.ts";

export type LedgerPurgeTask = {
  readonly tenant: string;
  readonly installation: string;
  /** Rows of batches below it go, */
  readonly below: bigint;
  /** but for these. */
  readonly keep: readonly bigint[];
  readonly signal: AbortSignal;
};

export interface LedgerPurge extends AsyncDisposable {
  /** Returns how many rows went. Throws `sink.unavailable`. */
  purge(connection: ConnectionConfig, task: LedgerPurgeTask): Promise<number>;
}

const ROWS_PER_STATEMENT = 2_000;
/** Of one call: the rest goes the next time. */
const MAX_STATEMENTS = 100;
const PAUSE_MS = 50;
const UNDEFINED_TABLE = "42P01";

export function createLedgerPurge(options: Pick<PoolsOptions, "allowedAddresses"> = {}): LedgerPurge {
  const pools = createPools({
    ...options,
    maxPools: 4,
    connectionsPerPool: 1,
    connectTimeoutMs: 3_000,
    statementTimeoutMs: 10_000,
    lockTimeoutMs: 1_000,
  });
  return {
    async purge({ config }, { tenant, installation, below, keep, signal }) {
      const connection = readPostgresConnection(config);
      let rows = 0;
      try {
        for (let i = 0; i < MAX_STATEMENTS && !signal.aborted; i++) {
          const gone = await pools.use({ connection, tenant, signal }, async (database) => {
            const ledger = ledgerName(database.schema);
            const result = await database.query(
              `delete from ${ledger} where ctid = any(array(
                 select ctid from ${ledger} where installation = $1::uuid and batch_id < $2::bigint and batch_id <> all($3::text::bigint[]) limit ${ROWS_PER_STATEMENT}))`,
              [installation, String(below), `{${keep.join(",")}}`],
            );
            return result.count;
          });
          rows += gone;
          if (gone < ROWS_PER_STATEMENT) break;
          await pause(PAUSE_MS);
        }
        return rows;
      } catch (error) {
        if (error instanceof OneDataError) throw error;
        const { code, message } = toSqlFailure(error);
        if (code === UNDEFINED_TABLE) return 0;
        throw new OneDataError("sink.unavailable", `${addressOf(connection)}: ${shorten(message, 300)}`, { cause: error });
      }
    },
    [Symbol.asyncDispose]: () => pools[Symbol.asyncDispose](),
  };
}
