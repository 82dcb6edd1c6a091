/**
 * Rows of tables in tenants' own databases, for `enrich.lookup`: the adapter of the port of `libs/operations` (same shapes), over the pools that the Postgres sinks use.
 *
 * Invariants:
 * 1. Reads only: every session is read-only, each statement is bounded in time, each answer in rows and bytes.
 * 2. What keeps a lookup from its rows is `connection.unavailable`, which costs time and no data; never a record's fault.
 * 3. A table, or a whole database, that could not be reached just now is not asked again for twice as long as that took: callers that share a call with it lose at most a third of their time.
 * 4. Rows are kept per tenant and connection, its address and secret included: nobody is answered from what somebody else may read.
 */
import { createHash } from "node:crypto";
import { isJsonObject, keepNewest, OneDataError, raceSignal } from "@onedata/core";
import { addressOf, type PostgresConnection, readPostgresConnection } from "../postgres/connection-config.ts";
import { createPools, type PoolsOptions, type SinkDatabase } from "../postgres/pools.ts";
import { classify, shorten, toSqlFailure } from "../postgres/sqlstate.ts";
import { checkTable } from "./check-table.ts";
import { type LookupColumns, listColumns, readColumns } from "./columns.ts";
import { findRows } from "./find-rows.ts";
import type { FoundRow, LookupCaller, LookupProblem, LookupQuery, LookupTable } from "./lookup.ts";
import { createRowCache } from "./row-cache.ts";

export interface PostgresLookups extends AsyncDisposable {
  /** Missing = no row. Throws `connection.unavailable`, and `aborted` when the caller gave up. */
  find(caller: LookupCaller, query: LookupQuery): Promise<ReadonlyMap<string, FoundRow>>;
  /** What keeps the table from being looked into, and what makes that slow. Asks the database itself. */
  check(caller: LookupCaller, table: LookupTable): Promise<readonly LookupProblem[]>;
}

export type PostgresLookupsOptions = Pick<PoolsOptions, "platformDatabase" | "allowPlatformDatabase" | "allowedAddresses"> & {
  readonly budgetMs?: number;
  readonly cacheBytes?: number;
  readonly nowMs?: () => number;
};

/** Of one lookup, connecting included; with the budget of the whole call in the transform service well below an Apply's deadline. */
const BUDGET_MS = 5_000;
const CONNECT_MS = 3_000;
const STATEMENT_MS = 4_000;
const CACHE_BYTES = 32 * 1024 * 1024;
const COLUMNS_MAX_AGE_MS = 60_000;
const MAX_TABLES = 1_000;

type Away = { readonly untilMs: number; readonly message: string };
type Target = { readonly connection: PostgresConnection; readonly id: string };

export function createPostgresLookups(options: PostgresLookupsOptions = {}): PostgresLookups {
  const nowMs = options.nowMs ?? (() => performance.now());
  const pools = createPools({
    ...(options.platformDatabase === undefined ? {} : { platformDatabase: options.platformDatabase }),
    ...(options.allowPlatformDatabase === undefined ? {} : { allowPlatformDatabase: options.allowPlatformDatabase }),
    ...(options.allowedAddresses === undefined ? {} : { allowedAddresses: options.allowedAddresses }),
    applicationName: "onedata lookup",
    isReadOnly: true,
    maxPools: 64,
    connectionsPerPool: 2,
    connectTimeoutMs: CONNECT_MS,
    statementTimeoutMs: STATEMENT_MS,
    lockTimeoutMs: STATEMENT_MS,
  });
  const cache = createRowCache(options.cacheBytes ?? CACHE_BYTES, nowMs);
  const tables = new Map<string, LookupColumns>();
  const away = new Map<string, Away>();

  /** Bounded by the budget whatever the network does. */
  const use = async <T>(caller: LookupCaller, { connection }: Target, work: (database: SinkDatabase) => Promise<T>): Promise<T> => {
    const budgetMs = Math.ceil(Math.min(options.budgetMs ?? BUDGET_MS, caller.budgetMs ?? BUDGET_MS));
    const budget = AbortSignal.timeout(budgetMs);
    const signal = AbortSignal.any([caller.signal, budget]);
    try {
      return await raceSignal(pools.use({ connection, tenant: caller.tenant, signal }, work), signal);
    } catch (error) {
      if (caller.signal.aborted) throw new OneDataError("aborted", "the call was cancelled", { cause: error });
      const what = budget.aborted ? `no answer within ${budgetMs} ms` : messageOf(error);
      // That the time is over says nothing of the database.
      const cause = error === signal.reason ? new OneDataError("aborted", what, { cause: error }) : error;
      throw new OneDataError("connection.unavailable", what.startsWith(addressOf(connection)) ? what : `${addressOf(connection)}: ${what}`, {
        cause,
      });
    }
  };

  const query = async (caller: LookupCaller, target: Target, wanted: LookupQuery): Promise<Map<string, FoundRow>> => {
    const place = hashOf([target.id, wanted.schema, wanted.table]);
    for (const known of [away.get(target.id), away.get(place)])
      if (known !== undefined && nowMs() < known.untilMs) throw new OneDataError("connection.unavailable", known.message);
    const startedMs = nowMs();
    try {
      const rows = await use(caller, target, (database) => findIn(database, wanted, { tables, id: target.id, nowMs }));
      away.delete(place);
      away.delete(target.id);
      return rows;
    } catch (error) {
      const { code, message, cause } = OneDataError.from(error);
      const untilMs = nowMs() + 2 * (nowMs() - startedMs);
      if (code === "connection.unavailable") keepNewest(away, isUnreachable(cause) ? target.id : place, { untilMs, message }, MAX_TABLES);
      throw error;
    }
  };

  return {
    async find(caller, wanted) {
      const target = toTarget(caller);
      const { schema, table, column, take, keys, maxAgeMs } = wanted;
      const place = hashOf([target.id, schema ?? target.connection.schema, table, column, take]);
      const found = new Map<string, FoundRow>();
      const asked: string[] = [];
      for (const key of keys) {
        const row = maxAgeMs > 0 ? cache.get(place, key, maxAgeMs) : undefined;
        if (row === undefined) asked.push(key);
        else found.set(key, row);
      }
      if (asked.length === 0) return found;
      for (const [key, row] of await query(caller, target, { ...wanted, keys: asked })) {
        found.set(key, row);
        if (row.kind === "row" && maxAgeMs > 0) cache.set(place, key, row);
      }
      return found;
    },
    async check(caller, table) {
      try {
        return await use(caller, toTarget(caller), (database) => checkTable(database, { ...table, schema: table.schema ?? database.schema }));
      } catch (error) {
        const known = OneDataError.from(error);
        if (known.code !== "connection.unavailable") throw known;
        return [{ member: "connection", code: known.code, detail: `${caller.connection.name}: ${known.message}`, isWarning: false }];
      }
    },
    [Symbol.asyncDispose]: () => pools[Symbol.asyncDispose](),
  };
}

type Known = { readonly tables: Map<string, LookupColumns>; readonly id: string; readonly nowMs: () => number };

/** What was known of the table may be old: then it is read again, and the query goes once more. */
async function findIn(database: SinkDatabase, query: LookupQuery, { tables, id, nowMs }: Known): Promise<Map<string, FoundRow>> {
  const name = { schema: query.schema ?? database.schema, table: query.table };
  const place = JSON.stringify([id, name.schema, name.table]);
  const attempt = async (columns: LookupColumns | undefined): Promise<Map<string, FoundRow>> => {
    const column = columns?.columns.get(query.column);
    if (columns === undefined) throw gone(`table ${name.schema}.${name.table} does not exist, or its schema is closed to this role`);
    const lacking = [query.column, ...query.take].find((each) => !columns.columns.has(each));
    if (lacking !== undefined || column === undefined)
      throw gone(`${name.schema}.${name.table} has no column ${JSON.stringify(lacking)}; it has: ${listColumns(columns)}`);
    return findRows(database, { ...name, ...query, schema: name.schema, type: column.type, checksInput: columns.checksInput });
  };
  const known = tables.get(place);
  if (known !== undefined && nowMs() - known.readAtMs < COLUMNS_MAX_AGE_MS) {
    try {
      return await attempt(known);
    } catch (error) {
      if (!(error instanceof OneDataError) && !toSqlFailure(error).code.startsWith("42")) throw error;
    }
  }
  const fresh = await readColumns(database, name, nowMs());
  tables.delete(place);
  if (fresh !== undefined) keepNewest(tables, place, fresh, MAX_TABLES);
  return attempt(fresh);
}

/** The database itself, not only what was asked of it. */
const isUnreachable = (cause: unknown): boolean =>
  cause instanceof OneDataError ? cause.code === "sink.unavailable" : classify(toSqlFailure(cause)) === "connection";

const gone = (message: string): OneDataError => new OneDataError("connection.unavailable", message);

/** Throws `connection.unavailable` for a connection that cannot be one to Postgres: whoever keeps it can mend it. */
function toTarget({ tenant, connection }: LookupCaller): Target {
  if (connection.kind !== "postgres")
    throw gone(`connection ${JSON.stringify(connection.name)} is of kind ${connection.kind}; a lookup needs one of kind postgres`);
  try {
    const read = readPostgresConnection(isJsonObject(connection.config) ? connection.config : {});
    return { connection: read, id: hashOf([tenant, read]) };
  } catch (error) {
    throw new OneDataError("connection.unavailable", OneDataError.from(error).message, { cause: error });
  }
}

const hashOf = (value: unknown): string => createHash("sha256").update(JSON.stringify(value)).digest("base64");

const messageOf = (error: unknown): string => (error instanceof OneDataError ? error.message : shorten(toSqlFailure(error).message, 300));
