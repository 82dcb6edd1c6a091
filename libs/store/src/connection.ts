/**
 * The connections of one process to Postgres, each with the session settings its statements need.
 *
 * Invariants:
 * 1. Statements of the hot path run on connections with seqscan, hash join, merge join and bitmap scan off: on just-analysed empty tables the default
 *    planner took 1.8 s for one claim and stopped the engine.
 * 2. Capture and completion commit synchronously; claims, releases and renewals need not: losing one in a crash only repeats work behind the fence.
 * 3. 64-bit integers are `bigint` in JavaScript, everywhere.
 * 4. No transaction pooler: sessions keep prepared statements and settings.
 * 5. No statement is compiled: up to Postgres 17 a plan that rule 1 leaves no other way counts as endlessly dear, and compiling it took 2 s per capture.
 */
import { randomUUID } from "node:crypto";
import postgres from "postgres";
import { arrayTypes } from "./array-types.ts";
import { createSocketGuard } from "./guard-connects.ts";
import { guardTransactions } from "./guard-transactions.ts";

export type Sql = postgres.Sql<{ bigint: bigint }>;
export type Transaction = postgres.TransactionSql<{ bigint: bigint }>;

export type StoreOptions = {
  /** Of the general pool; the hot path has its own connections besides. */
  readonly maxConnections?: number;
  /** Connections that write capture groups: one commit in flight each. */
  readonly captureConnections?: number;
  readonly importConnections?: number;
  readonly completionConnections?: number;
  readonly applicationName?: string;
  /** A connection of the hot path without a word for so long is ended; tests shorten it. */
  readonly silentMs?: number;
};

export interface Store extends AsyncDisposable {
  readonly url: string;
  /** General pool: control plane, reads. */
  readonly sql: Sql;
  /** Capture groups. Each connection has an application name of its own, so a lost one can be found and ended (`capture.ts`). */
  readonly capture: CaptureConnections;
  /** Chunks of imports: connections of their own, so a long upload never holds up single events. */
  readonly imports: Sql;
  /** One connection for claims. */
  readonly claim: Sql;
  /** Completions: synchronous commits. */
  readonly completion: Sql;
  /** Releases, renewals, reclaims, wake-ups. */
  readonly lease: Sql;
}

export interface CaptureConnections {
  /** Runs `work` alone on a free connection; waits when all are taken. */
  use<T>(work: (connection: CaptureConnection) => Promise<T>): Promise<T>;
}

export type CaptureConnection = { readonly sql: Sql; readonly applicationName: string };

/** Settings of connections that run statements of the hot path. */
export const PLANNER = {
  enable_seqscan: "off",
  enable_hashjoin: "off",
  enable_mergejoin: "off",
  enable_bitmapscan: "off",
  plan_cache_mode: "force_generic_plan",
};

const CONNECT_SECONDS = 10;
/** Statements of the hot path take milliseconds; what has heard nothing for so long waits for a server that is gone. */
const SILENT_MS = 60_000;

/**
 * A `postgres` client with this package's types; arrays are those of `array-types.ts`. The caller ends it. `silentMs`, where every statement is short: a connection
 * without a word for so long is ended.
 */
export function connect(
  url: string,
  {
    max,
    applicationName,
    parameters = {},
    silentMs,
  }: { max: number; applicationName: string; parameters?: Record<string, string>; silentMs?: number | undefined },
): Sql {
  const options = {
    max,
    onnotice: () => undefined,
    types: { ...arrayTypes, bigint: postgres.BigInt },
    connection: { application_name: applicationName, jit: "off", ...parameters },
    fetch_types: false,
    connect_timeout: CONNECT_SECONDS,
    max_lifetime: null,
    backoff: (attempt: number) => Math.min(0.05 * 2 ** attempt, 2),
  };
  // Its types know of no `socket`.
  const sql = postgres(url, Object.assign(options, { socket: createSocketGuard(CONNECT_SECONDS * 1000, silentMs) }));
  return openBeforeReserve(guardTransactions(sql, isConnectionLost));
}

/** `reserve` alone never gets a connection that it has to open, where types are not fetched (the driver waits for their query): another query opens it. */
function openBeforeReserve(sql: Sql): Sql {
  const reserve = sql.reserve.bind(sql);
  Object.defineProperty(sql, "reserve", {
    value: async () => {
      await sql`select 1`;
      return reserve();
    },
  });
  return sql;
}

/** Opens the pools; connections are made on first use. Disposing waits up to five seconds for running statements. */
export function openStore(url: string, options: StoreOptions = {}): Store {
  const name = options.applicationName ?? "onedata";
  const silentMs = options.silentMs ?? SILENT_MS;
  const sql = connect(url, { max: options.maxConnections ?? 10, applicationName: name, parameters: { synchronous_commit: "on" } });
  const claim = connect(url, { max: 1, applicationName: `${name}-claim`, silentMs, parameters: { ...PLANNER, synchronous_commit: "off" } });
  const completion = connect(url, {
    max: options.completionConnections ?? 4,
    applicationName: `${name}-completion`,
    silentMs,
    parameters: { ...PLANNER, synchronous_commit: "on" },
  });
  const lease = connect(url, { max: 2, applicationName: `${name}-lease`, silentMs, parameters: { ...PLANNER, synchronous_commit: "off" } });
  const imports = connect(url, {
    max: options.importConnections ?? 2,
    applicationName: `${name}-imports`,
    silentMs,
    parameters: { ...PLANNER, synchronous_commit: "on", lock_timeout: "5s" },
  });
  const capture = openCaptureConnections({ url, name, silentMs }, options.captureConnections ?? 2);
  const end = async (): Promise<void> => {
    await Promise.all([sql, imports, claim, completion, lease, ...capture.all].map((pool) => pool.end({ timeout: 5 })));
  };
  return { url, sql, capture, imports, claim, completion, lease, [Symbol.asyncDispose]: end };
}

function openCaptureConnections(
  { url, name, silentMs }: { readonly url: string; readonly name: string; readonly silentMs: number },
  count: number,
): CaptureConnections & { readonly all: readonly Sql[] } {
  const connections = Array.from({ length: count }, (): CaptureConnection => {
    // 63 bytes is the longest name Postgres keeps.
    const applicationName = `${name.slice(0, 20)}-c-${randomUUID()}`;
    // A capture behind an application's open transaction on the same idempotency key waits this long and no longer.
    const parameters = { ...PLANNER, synchronous_commit: "on", lock_timeout: "300ms" };
    return { sql: connect(url, { max: 1, applicationName, silentMs, parameters }), applicationName };
  });
  const free = [...connections];
  const waiting: ((connection: CaptureConnection) => void)[] = [];
  const take = (): Promise<CaptureConnection> => {
    const connection = free.pop();
    return connection === undefined ? new Promise((given) => waiting.push(given)) : Promise.resolve(connection);
  };
  return {
    all: connections.map((connection) => connection.sql),
    async use(work) {
      const connection = await take();
      try {
        return await work(connection);
      } finally {
        const next = waiting.shift();
        if (next === undefined) free.push(connection);
        else next(connection);
      }
    },
  };
}

/** SQLSTATE of a Postgres error, or the client's own code of a broken connection. */
export const sqlStateOf = (error: unknown): string | undefined =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;

/** Whether the connection broke, so that it is not known what the server did. */
export function isConnectionLost(error: unknown): boolean {
  const code = sqlStateOf(error) ?? "";
  return (
    /^(CONNECTION_|ECONN|EPIPE|ETIMEDOUT|ENOTFOUND|EHOSTUNREACH)/.test(code) ||
    code.startsWith("08") ||
    code === "57P01" ||
    code === "57P02" ||
    code === "57P03"
  );
}

/** Runs `work`; when a day's partition is missing, makes it and tries once more. */
export async function withPartitions<T>(sql: Sql, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(sqlStateOf(error) === "23514" && error instanceof Error && error.message.includes("no partition of relation"))) throw error;
    await sql`select onedata.ensure_partitions(2)`;
    return work();
  }
}
