/**
 * Connections to tenants' databases: one small pool per (tenant, connection config).
 *
 * Invariants:
 * 1. At most `maxPools` pools; the longest unused idle one makes room, and if all are in use the caller waits, bounded by its signal.
 * 2. Whoever uses a pool has one of its connections to itself.
 * 3. No connection is made to an address that the policy refuses; it is asked before each one.
 * 4. Before its first use a pool is proved not to be the platform's own database, by server and database identity: names, addresses and ports prove nothing.
 */
import { OneDataError } from "@onedata/core";
import { createAddressPolicy } from "../http-post/address-policy.ts";
import { type Client, type Clients, createClients, nextTurn, throwIfAborted } from "./clients.ts";
import { addressOf, type PostgresConnection, readPostgresConnection, type Session, toDriverOptions } from "./connection-config.ts";
import { reach } from "./reach.ts";
import { createTables, type Tables } from "./tables.ts";

export type DatabaseIdentity = { readonly systemIdentifier: string; readonly databaseOid: number };

export type PoolsOptions = {
  /** The platform's own database; `undefined` = not known here, nothing is compared. */
  readonly platformDatabase?: () => Promise<DatabaseIdentity | undefined>;
  readonly allowPlatformDatabase?: boolean;
  /** Hosts, addresses, ranges or `private`, beside the public internet; absent = any address. */
  readonly allowedAddresses?: readonly string[];
  readonly applicationName?: string;
  readonly isReadOnly?: boolean;
  readonly maxPools?: number;
  readonly connectionsPerPool?: number;
  readonly connectTimeoutMs?: number;
  readonly statementTimeoutMs?: number;
  readonly lockTimeoutMs?: number;
};

/** One connection, for one user at a time. */
export type SinkDatabase = Client & { readonly schema: string; readonly address: string; readonly tables: Tables };

export interface Pools extends AsyncDisposable {
  /** Throws the driver's errors, or `sink.unavailable` for the platform's own database. */
  use<T>(
    who: { readonly connection: PostgresConnection; readonly tenant: string; readonly signal: AbortSignal },
    run: (database: SinkDatabase) => Promise<T>,
  ): Promise<T>;
}

type Pool = {
  readonly clients: Clients;
  readonly schema: string;
  readonly address: string;
  readonly tables: Tables;
  users: number;
  lastUsedMs: number;
  proved: boolean;
};

export function createPools(options: PoolsOptions = {}): Pools {
  const policy = options.allowedAddresses === undefined ? undefined : createAddressPolicy(options.allowedAddresses);
  const maxPools = options.maxPools ?? 32;
  const pools = new Map<string, Pool>();
  const waiting: (() => void)[] = [];
  let disposed = false;

  const connectionsPerPool = options.connectionsPerPool ?? 4;
  const open = (connection: PostgresConnection): Pool => {
    const session = {
      applicationName: options.applicationName ?? "onedata sink",
      isReadOnly: options.isReadOnly ?? false,
      connectSeconds: Math.ceil((options.connectTimeoutMs ?? 5_000) / 1000),
      statementMs: options.statementTimeoutMs ?? 20_000,
      lockMs: options.lockTimeoutMs ?? 10_000,
      idleInTransactionMs: 30_000,
    };
    return {
      clients: createClients(
        toDriverOptions(connection, session),
        connectionsPerPool,
        policy === undefined ? undefined : () => reach(policy, connection.host, addressOf(connection)),
      ),
      schema: connection.schema,
      address: addressOf(connection),
      tables: createTables(() => performance.now()),
      users: 0,
      lastUsedMs: performance.now(),
      proved: false,
    };
  };

  /** Counts the caller as a user at once, so that nobody evicts the pool before it is used. */
  const acquire = async (key: string, connection: PostgresConnection, signal: AbortSignal): Promise<Pool> => {
    for (;;) {
      throwIfAborted(signal);
      if (disposed) throw new OneDataError("sink.unavailable", "this service is stopping");
      const known = pools.get(key);
      if (known !== undefined) {
        known.users += 1;
        return known;
      }
      if (pools.size >= maxPools) {
        const idle = [...pools].filter(([, pool]) => pool.users === 0).sort(([, a], [, b]) => a.lastUsedMs - b.lastUsedMs)[0];
        if (idle === undefined) {
          await nextTurn(waiting, signal);
          continue;
        }
        pools.delete(idle[0]);
        idle[1].clients.close();
      }
      const pool = open(connection);
      pool.users += 1;
      pools.set(key, pool);
      return pool;
    }
  };

  return {
    async use({ connection, tenant, signal }, run) {
      const key = JSON.stringify([tenant, connection]);
      const pool = await acquire(key, connection, signal);
      try {
        return await pool.clients.use(signal, async (client) => {
          const database: SinkDatabase = { ...client, schema: pool.schema, address: pool.address, tables: pool.tables };
          if (!pool.proved) await refusePlatform(database, options);
          pool.proved = true;
          return await run(database);
        });
      } finally {
        pool.users -= 1;
        pool.lastUsedMs = performance.now();
        waiting.shift()?.();
      }
    },
    [Symbol.asyncDispose]() {
      disposed = true;
      for (const wake of waiting.splice(0)) wake();
      for (const pool of pools.values()) pool.clients.close();
      pools.clear();
      return Promise.resolve();
    },
  };
}

const IDENTITY_SESSION: Session = {
  applicationName: "onedata sink",
  isReadOnly: true,
  connectSeconds: 5,
  statementMs: 5_000,
  lockMs: 5_000,
  idleInTransactionMs: 5_000,
};

/** The identity of the database behind a URL, read at the first call that succeeds and kept: it never changes, not even by a failover. */
export function identityOfUrl(url: string): () => Promise<DatabaseIdentity> {
  let known: Promise<DatabaseIdentity> | undefined;
  const read = async (): Promise<DatabaseIdentity> => {
    const clients = createClients(toDriverOptions(readPostgresConnection({ url }), IDENTITY_SESSION), 1);
    try {
      return await clients.use(AbortSignal.timeout(10_000), readIdentity);
    } finally {
      clients.close();
    }
  };
  return () => {
    known ??= read().catch((error: unknown) => {
      known = undefined;
      // Without it nothing is written: a sink that cannot be proved harmless waits.
      throw new OneDataError("sink.unavailable", "the platform's own database does not answer, so no other can be told from it", { cause: error });
    });
    return known;
  };
}

/** Any role may read both: tried with a role without rights. */
export async function readIdentity(database: Pick<Client, "query">): Promise<DatabaseIdentity> {
  const [row] = await database.query<{ system: string; database: string }>(
    "select system_identifier::text as system, (select oid::text from pg_database where datname = current_database()) as database from pg_control_system()",
  );
  if (row === undefined) throw new OneDataError("sink.unavailable", "the database does not say who it is");
  return { systemIdentifier: row.system, databaseOid: Number(row.database) };
}

async function refusePlatform(database: SinkDatabase, options: PoolsOptions): Promise<void> {
  if (options.allowPlatformDatabase === true || options.platformDatabase === undefined) return;
  const [own, its] = await Promise.all([options.platformDatabase(), readIdentity(database)]);
  if (own === undefined || own.systemIdentifier !== its.systemIdentifier || own.databaseOid !== its.databaseOid) return;
  throw new OneDataError(
    "sink.unavailable",
    `${database.address} is the platform's own database, which connections may not reach: use another database of the server, or let the operator set allowPlatformDatabase`,
  );
}
