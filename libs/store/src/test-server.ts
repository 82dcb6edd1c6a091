/**
 * The Postgres that tests share: one server per OS user and machine, in the temp folder, started by whoever comes first and stopped by whoever leaves last.
 *
 * Invariants: starting, stopping and making the template happen under one file lock; each user of the server leaves its pid in `users/`, and the server
 * stops only when none of them lives. Workers of a test run count as that run, which outlives them. fsync is off here and nowhere else.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import postgres from "postgres";
import { openEmbeddedPostgres } from "./embedded/server.ts";
import { hashMigrations, migrate } from "./migrate.ts";

const FOLDER = join(tmpdir(), `onedata-test-${process.getuid?.() ?? "user"}`);
const SETTINGS = { shared_buffers: "192MB", max_wal_size: "1GB", log_min_duration_statement: "5000" };

const openServer = () => openEmbeddedPostgres({ dataDir: FOLDER, durable: false, maxConnections: 400, settings: SETTINGS });

/** The superuser's URL of a server that tests shall use instead. Read here: tests have no main.ts that could pass it on. */
export function readTestServerUrl(): string | undefined {
  const url = process.env["ONEDATA_TEST_POSTGRES"];
  return url === "" ? undefined : url;
}

/** The pid of the test run that this process works for; workers inherit it. */
const RUN = "ONEDATA_TEST_RUN";

/** Starts or joins the server. Returns its superuser URL and the name of a migrated template database. */
export function joinTestServer(overrideUrl: string | undefined): Promise<{ url: string; template: string }> {
  return locked(async () => {
    mkdirSync(join(FOLDER, "users"), { recursive: true });
    writeFileSync(join(FOLDER, "users", process.env[RUN] ?? String(process.pid)), "");
    const url = overrideUrl ?? (await openServer()).url;
    return { url, template: await makeTemplate(url) };
  });
}

/** For the process of a test run, before it starts its workers. */
export function beginTestRun(): void {
  process.env[RUN] = String(process.pid);
}

/** Takes this process off the list and stops the server when it was the last. */
export function leaveTestServer(): Promise<void> {
  return locked(async () => {
    rmSync(join(FOLDER, "users", String(process.pid)), { force: true });
    if (livingUsers().length === 0) await (await openServer()).stop();
  });
}

function livingUsers(): readonly number[] {
  return readdirSync(join(FOLDER, "users"))
    .map(Number)
    .filter((pid) => {
      if (isAlive(pid)) return true;
      rmSync(join(FOLDER, "users", String(pid)), { force: true });
      return false;
    });
}

/** The template's name carries the migrations' hash and the day, since its partitions are made around the day it was made on. */
async function makeTemplate(url: string): Promise<string> {
  const name = `template_${hashMigrations()}_${new Date().toISOString().slice(0, 10).replaceAll("-", "")}`;
  const sql = postgres(url, { max: 1, onnotice: () => undefined });
  try {
    const [known] = await sql`select 1 from pg_database where datname = ${name} and datistemplate`;
    if (known !== undefined) return name;
    await dropLeftovers(sql);
    await sql.unsafe(`drop database if exists ${name}`);
    await sql.unsafe(`create database ${name}`);
    await migrate(withDatabase(url, name));
    await sql.unsafe(`alter database ${name} is_template true`);
    return name;
  } finally {
    await sql.end({ timeout: 5 });
  }
}

/** Databases of test processes that died. */
async function dropLeftovers(sql: postgres.Sql): Promise<void> {
  for (const { datname } of await sql<{ datname: string }[]>`select datname from pg_database where datname ~ '^test_\\d+_'`) {
    if (!isAlive(Number(datname.split("_")[1]))) await sql.unsafe(`drop database if exists ${datname} with (force)`);
  }
}

export function withDatabase(url: string, database: string): string {
  const parsed = new URL(url);
  parsed.pathname = `/${database}`;
  return parsed.href;
}

async function locked<T>(work: () => Promise<T>): Promise<T> {
  const lock = `${FOLDER}.lock`;
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: "wx" });
      break;
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
      const holder = readHolder(lock);
      if (holder !== undefined && !isAlive(holder)) rmSync(lock, { force: true });
      await new Promise((wake) => setTimeout(wake, 20));
    }
  }
  try {
    return await work();
  } finally {
    rmSync(lock, { force: true });
  }
}

/** `undefined` while the holder has made the file and not yet written its pid. */
function readHolder(lock: string): number | undefined {
  try {
    const text = readFileSync(lock, "utf8");
    return text === "" ? undefined : Number(text);
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}
