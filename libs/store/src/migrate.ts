/**
 * Applies the numbered migrations of `migrations/`, forward only. docs/migrations.md has the rule that they keep.
 *
 * Invariants:
 * 1. One process at a time: the others wait for it and find nothing left to do. They ask for the lock again and again instead of waiting in the database: a
 *    statement that waits holds a snapshot, which `create index concurrently` would wait for in turn.
 * 2. Each file in a transaction of its own, unless it begins with `-- migrate: no transaction`; then each statement by itself, and the file must bear a repeat.
 * 3. An applied file never changes: its hash is kept and checked.
 * 4. A migration never waits long for a lock: whoever comes after it in the lock's queue would wait too, captures among them (they give up after 300 ms). It
 *    gives up sooner, lets the others through, and tries again.
 * 5. A database whose schema is one release ahead is fine, and nothing is applied to it; two are refused.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { OneDataError } from "@onedata/core";
import postgres from "postgres";
import { sqlStateOf } from "./connection.ts";
import { releaseOf, SCHEMA_RELEASE } from "./schema-release.ts";
import { splitStatements } from "./sql-statements.ts";

export type Migration = { readonly number: number; readonly name: string; readonly hash: string; readonly sql: string };

export type MigrateOptions = {
  /** Told the name of each migration as it is applied. */
  readonly onApplied?: (name: string) => void;
  /** Told in a sentence what it waits for. */
  readonly onWait?: (message: string) => void;
  /** Longest wait for other processes and for locks, in all. */
  readonly waitMs?: number;
  /** Longest single statement. */
  readonly statementTimeoutMs?: number;
  readonly migrations?: readonly Migration[];
};

const FOLDER = join(import.meta.dirname, "..", "migrations");
const LOCK = "7305809182";
const NO_TRANSACTION = "-- migrate: no transaction";
const LOCK_TIMEOUT_MS = 200;
const BACKOFF_MS = { first: 1_000, most: 10_000 };
const POLL_MS = 100;
const TELL_AFTER_MS = 2_000;

export function readMigrations(): readonly Migration[] {
  return readdirSync(FOLDER)
    .filter((file) => /^\d{4}_.*\.sql$/.test(file))
    .sort()
    .map((name) => {
      const sql = readFileSync(join(FOLDER, name), "utf8");
      return { number: Number(name.slice(0, 4)), name, hash: createHash("sha256").update(sql).digest("hex"), sql };
    });
}

/** One hash over all migrations: names a test template. */
export const hashMigrations = (): string =>
  createHash("sha256")
    .update(
      readMigrations()
        .map((migration) => migration.hash)
        .join(),
    )
    .digest("hex")
    .slice(0, 12);

/**
 * Returns the names of the migrations it applied. Throws `config.problems` when an applied file was changed or the database is too new for this code, and
 * `store.busy` when a lock could not be had in time.
 */
export async function migrate(url: string, options: MigrateOptions = {}): Promise<readonly string[]> {
  const { onApplied = () => undefined, onWait = () => undefined, waitMs = 600_000, statementTimeoutMs = 300_000 } = options;
  const migrations = options.migrations ?? readMigrations();
  const deadlineMs = performance.now() + waitMs;
  const sql = postgres(url, { max: 1, onnotice: () => undefined, connection: { application_name: "onedata-migrate" } });
  try {
    await takeLock(sql, deadlineMs, onWait);
    await prepareTable(sql);
    const applied = await readApplied(sql);
    check(migrations, applied);
    const names: string[] = [];
    for (const migration of migrations) {
      if (applied.has(migration.number)) continue;
      await applyPatiently(sql, migration, { deadlineMs, statementTimeoutMs, onWait });
      onApplied(migration.name);
      names.push(migration.name);
    }
    await sql`select onedata.ensure_partitions(3)`;
    return names;
  } finally {
    await sql.end({ timeout: 5 });
  }
}

async function takeLock(sql: postgres.Sql, deadlineMs: number, onWait: (message: string) => void): Promise<void> {
  let tellAtMs = performance.now() + TELL_AFTER_MS;
  for (;;) {
    const [row] = await sql<{ taken: boolean }[]>`select pg_try_advisory_lock(${LOCK}::bigint) as taken`;
    if (row?.taken === true) return;
    if (performance.now() > deadlineMs)
      throw new OneDataError("store.busy", "another process has been migrating the database all this time; see its log");
    if (performance.now() > tellAtMs) {
      onWait("another process migrates the database; waiting for it");
      tellAtMs = Number.POSITIVE_INFINITY;
    }
    await pause(POLL_MS);
  }
}

/** The table that tells what was applied cannot come by a migration of its own. */
async function prepareTable(sql: postgres.Sql): Promise<void> {
  await sql.unsafe("create schema if not exists onedata");
  await sql.unsafe(
    "create table if not exists onedata.migrations (number int primary key, name text not null, hash text not null, applied_at timestamptz not null default now(), release int not null default 1)",
  );
  const [column] = await sql`select 1 from pg_attribute where attrelid = 'onedata.migrations'::regclass and attname = 'release' and not attisdropped`;
  if (column === undefined) await sql.unsafe("alter table onedata.migrations add column release int not null default 1");
}

type Applied = { readonly hash: string; readonly name: string; readonly release: number };

async function readApplied(sql: postgres.Sql): Promise<ReadonlyMap<number, Applied>> {
  const rows = await sql<({ number: number } & Applied)[]>`select number, name, hash, release from onedata.migrations`;
  return new Map(rows.map((row) => [row.number, row]));
}

function check(migrations: readonly Migration[], applied: ReadonlyMap<number, Applied>): void {
  const known = new Map(migrations.map((migration) => [migration.number, migration]));
  for (const [number, { hash, name, release }] of applied) {
    const migration = known.get(number);
    if (migration === undefined) {
      if (release > SCHEMA_RELEASE + 1)
        throw new OneDataError(
          "config.problems",
          `the database has the schema of release ${release} (${name}), and this is release ${SCHEMA_RELEASE}, which works on its own and on the next one's; use a newer version`,
        );
    } else if (migration.hash !== hash)
      throw new OneDataError(
        "config.problems",
        `migration ${migration.name} was changed after it was applied to this database; add a new migration instead`,
      );
  }
}

type ApplyOptions = { readonly deadlineMs: number; readonly statementTimeoutMs: number; readonly onWait: (message: string) => void };

async function applyPatiently(sql: postgres.Sql, migration: Migration, { deadlineMs, statementTimeoutMs, onWait }: ApplyOptions): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      if (migration.sql.startsWith(NO_TRANSACTION)) await applyStatements(sql, migration);
      else await applyAsOne(sql, migration, statementTimeoutMs);
      return;
    } catch (error) {
      const state = sqlStateOf(error);
      if (state === "57014")
        throw new OneDataError("store.busy", `${migration.name}: a statement took longer than ${statementTimeoutMs / 1000} s and was undone`, {
          cause: error,
        });
      // 55P03: the lock was not to be had; 40P01: a deadlock
      if (state !== "55P03" && state !== "40P01") throw error;
      const holder = await describeOldest(sql);
      if (performance.now() > deadlineMs)
        throw new OneDataError("store.busy", `${migration.name} did not get its locks in time; ${holder}: end it, and start again`, { cause: error });
      onWait(`${migration.name} waits for a lock (try ${tries + 1}); ${holder}`);
      await pause(Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** tries) * (0.75 + Math.random() / 2));
    }
  }
}

const applyAsOne = (sql: postgres.Sql, migration: Migration, statementTimeoutMs: number): Promise<unknown> =>
  sql.begin(async (transaction) => {
    await transaction.unsafe(`set local lock_timeout = ${LOCK_TIMEOUT_MS}; set local statement_timeout = ${statementTimeoutMs}`);
    await transaction.unsafe(migration.sql);
    await record(transaction, migration);
  });

/** What cannot run in a transaction, as `create index concurrently`. It waits for old transactions and holds up nobody. */
async function applyStatements(sql: postgres.Sql, migration: Migration): Promise<void> {
  for (const { source } of splitStatements(migration.sql)) await sql.unsafe(source);
  await record(sql, migration);
}

const record = (sql: postgres.Sql | postgres.TransactionSql, { number, name, hash }: Migration): Promise<unknown> =>
  sql`insert into onedata.migrations (number, name, hash, release) values (${number}, ${name}, ${hash}, ${releaseOf(number)})`;

/** Most often an application that forgot to end its transaction. */
async function describeOldest(sql: postgres.Sql): Promise<string> {
  const [row] = await sql<{ pid: number; name: string; seconds: number }[]>`
    select pid, coalesce(nullif(application_name, ''), usename, '?') as name, extract(epoch from clock_timestamp() - xact_start)::int as seconds
      from pg_stat_activity where xact_start is not null and datname = current_database() and pid <> pg_backend_pid() order by xact_start limit 1`;
  return row === undefined
    ? "no other transaction is open now"
    : `the oldest open transaction is ${row.seconds} s old (${row.name}, process ${row.pid})`;
}

const pause = (ms: number): Promise<void> => new Promise((wake) => setTimeout(wake, ms));
