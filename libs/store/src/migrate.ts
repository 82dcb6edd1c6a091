/**
 * Applies the numbered migrations of `migrations/`, forward only.
 *
 * Invariants: one process at a time (advisory lock); each file in a transaction of its own; an applied file never changes (its hash is kept and checked).
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { OneDataError } from "@onedata/core";
import postgres from "postgres";

export type Migration = { readonly number: number; readonly name: string; readonly hash: string; readonly sql: string };

const FOLDER = join(import.meta.dirname, "..", "migrations");
const LOCK = "7305809182";

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

/** Returns the names of the migrations it applied. Throws `config.problems` when an applied file was changed or the database is newer than this code. */
export async function migrate(url: string): Promise<readonly string[]> {
  const migrations = readMigrations();
  const sql = postgres(url, { max: 1, onnotice: () => undefined, connection: { application_name: "onedata-migrate" } });
  try {
    await sql.unsafe(`select pg_advisory_lock(${LOCK})`);
    await sql.unsafe("create schema if not exists onedata");
    await sql.unsafe(
      "create table if not exists onedata.migrations (number int primary key, name text not null, hash text not null, applied_at timestamptz not null default now())",
    );
    const applied = new Map<number, string>();
    for (const row of await sql<{ number: number; hash: string }[]>`select number, hash from onedata.migrations`) applied.set(row.number, row.hash);
    check(migrations, applied);
    const names: string[] = [];
    for (const migration of migrations) {
      if (applied.has(migration.number)) continue;
      await sql.begin(async (transaction) => {
        await transaction.unsafe(migration.sql);
        await transaction`insert into onedata.migrations (number, name, hash) values (${migration.number}, ${migration.name}, ${migration.hash})`;
      });
      names.push(migration.name);
    }
    await sql`select onedata.ensure_partitions(3)`;
    return names;
  } finally {
    await sql.end({ timeout: 5 });
  }
}

function check(migrations: readonly Migration[], applied: ReadonlyMap<number, string>): void {
  const known = new Map(migrations.map((migration) => [migration.number, migration]));
  for (const [number, hash] of applied) {
    const migration = known.get(number);
    if (migration === undefined)
      throw new OneDataError("config.problems", `the database has migration ${number}, which this version does not know; use the newer version`);
    if (migration.hash !== hash)
      throw new OneDataError(
        "config.problems",
        `migration ${migration.name} was changed after it was applied to this database; add a new migration instead`,
      );
  }
}
