/**
 * The embedded database: the real PostgreSQL server, run from the npm package, in a data folder that survives.
 *
 * Duty: initdb once, start, adopt a server that outlived us, stop. Non-duty: databases, tables, migrations.
 * Invariants:
 * 1. The server is started by pg_ctl, which gives it a session of its own: Ctrl-C reaches us and not it, so a drain can still commit.
 * 2. After `kill -9` of our process the server lives on and holds its port, unless it is guarded (guard.ts); the next open adopts it by `postmaster.pid` and the
 *    kept password.
 * 3. Only 127.0.0.1 listens, with scram; the password lies beside the data with mode 0600.
 */
import { execFile, spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { chmodSync, chownSync, cpSync, existsSync, mkdirSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { OneDataError } from "@onedata/core";
import postgres from "postgres";
import { findBinaries } from "./binaries.ts";
import { asUser, chooseOsUser, enterable, type OsUser, reachable } from "./os-user.ts";
import { toPostgresConf } from "./settings.ts";

export type EmbeddedPostgresOptions = {
  readonly dataDir: string;
  /** 0 or absent: the port of last time when it is free, else any. */
  readonly port?: number;
  /** false switches fsync off: test servers only. */
  readonly durable?: boolean;
  readonly maxConnections?: number;
  readonly settings?: Readonly<Record<string, string>>;
  /** How long the server may take until it answers, e.g. while it recovers from an archive. */
  readonly startTimeoutSeconds?: number;
  /** How often a start that failed is tried again, on another port; default 5. */
  readonly attempts?: number;
  /** Refuses to begin with an empty database where there is none: a data folder that is gone is restored, not made anew. */
  readonly mustExist?: boolean;
  /** Told where the data really lies when `dataDir` cannot be reached by the server's OS user. */
  readonly log?: (message: string) => void;
};

export interface EmbeddedPostgres extends AsyncDisposable {
  /** Superuser URL of the database `postgres`. */
  readonly url: string;
  readonly port: number;
  readonly dataDir: string;
  /** true = the server was already running. */
  readonly adopted: boolean;
  /** Fast shutdown: open transactions are rolled back, the data is checkpointed. Disposing does the same. */
  stop(): Promise<void>;
}

const run = promisify(execFile);
const START_TIMEOUT_SECONDS = 60;

/** Starts or adopts the server of `dataDir`. Throws `config.problems` when it cannot start, with the end of its log. */
export async function openEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const user = chooseOsUser();
  const binaries = reachableBinaries(user);
  const dataDir = locateDataDir(options.dataDir, options.log);
  const cluster = join(dataDir, "pg");
  const password = readOrMakePassword(dataDir);

  if (!existsSync(join(cluster, "PG_VERSION"))) {
    if (options.mustExist === true)
      throw new OneDataError("config.problems", `${cluster} holds no database any more: stop OneData, and bring it back with \`onedata restore\``);
    await initialise(binaries, cluster, password, user);
  }
  const url = (port: number): string => `postgres://postgres:${password}@127.0.0.1:${port}/postgres`;
  const stop = async (): Promise<void> => {
    if (readPostmaster(cluster) === undefined) return;
    await run(join(binaries, "bin/pg_ctl"), ["-D", cluster, "-m", "fast", "-w", "-t", String(START_TIMEOUT_SECONDS), "stop"], asUser(user));
  };
  const handle = (port: number, adopted: boolean): EmbeddedPostgres => ({
    url: url(port),
    port,
    dataDir,
    adopted,
    stop,
    [Symbol.asyncDispose]: stop,
  });

  const running = readPostmaster(cluster);
  if (running !== undefined && (await answers(url(running.port)))) return handle(running.port, true);

  const timeoutSeconds = String(options.startTimeoutSeconds ?? START_TIMEOUT_SECONDS);
  let lastError: unknown;
  // A free port can be taken between the look and the start, and a server that is just stopping frees its own late: hence a few tries.
  for (let attempt = 0; attempt < (options.attempts ?? 5); attempt++) {
    const port = await choosePort(options.port ?? 0, dataDir);
    const settings = {
      port,
      durable: options.durable ?? true,
      maxConnections: options.maxConnections ?? 200,
      ...(options.settings === undefined ? {} : { extra: options.settings }),
    };
    writeOwned(join(cluster, "onedata.conf"), toPostgresConf(settings), user);
    // There from the start, so that a running server finds it when it reads its settings again.
    if (!existsSync(join(cluster, "archive.conf"))) writeOwned(join(cluster, "archive.conf"), "# `onedata backup` writes here.\n", user);
    removeZombiesPidFile(cluster);
    try {
      await run(join(binaries, "bin/pg_ctl"), ["-D", cluster, "-l", join(cluster, "server.log"), "-w", "-t", timeoutSeconds, "start"], asUser(user));
      writeFileSync(join(dataDir, "port"), String(port));
      return handle(port, false);
    } catch (error) {
      lastError = error;
      const other = readPostmaster(cluster);
      if (other !== undefined && (await answers(url(other.port)))) return handle(other.port, true);
      await new Promise((wake) => setTimeout(wake, 300)); // backends of a killed server are still going
    }
  }
  throw new OneDataError("config.problems", `the embedded Postgres did not start in ${cluster}:\n${logTail(cluster)}`, { cause: lastError });
}

/** Where the data really lies: `dataDir`, or another folder when the server's OS user cannot reach that. */
export const locateDataDir = (dataDir: string, log: (message: string) => void = () => undefined): string =>
  reachableDataDir(resolve(dataDir), chooseOsUser(), log);

async function initialise(binaries: string, cluster: string, password: string, user: OsUser | undefined): Promise<void> {
  const passwordFile = join(dirname(cluster), `.initdb-${process.pid}`);
  writeOwned(passwordFile, `${password}\n`, user);
  // initdb in a folder of another name and a rename would be tidier, but a half-made cluster has no PG_VERSION problem: it is removed here.
  rmSync(cluster, { recursive: true, force: true });
  mkdirSync(cluster, { mode: 0o700 });
  if (user !== undefined) chownSync(cluster, user.uid, user.gid);
  try {
    await run(
      join(binaries, "bin/initdb"),
      [
        "-D",
        cluster,
        "-U",
        "postgres",
        `--pwfile=${passwordFile}`,
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-instructions",
        "--data-checksums",
      ],
      { ...asUser(user), env: { ...environment(), LC_ALL: "C" } },
    );
    const conf = join(cluster, "postgresql.conf");
    writeOwned(conf, `${readFileSync(conf, "utf8")}\ninclude_if_exists = 'onedata.conf'\n`, user);
  } catch (cause) {
    rmSync(cluster, { recursive: true, force: true });
    throw new OneDataError("config.problems", `initdb failed in ${cluster}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  } finally {
    rmSync(passwordFile, { force: true });
  }
}

const environment = (): Record<string, string> => ({ PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" });

/** The server's pid and port, if `postmaster.pid` names a living process. */
function readPostmaster(cluster: string): { pid: number; port: number } | undefined {
  try {
    const lines = readFileSync(join(cluster, "postmaster.pid"), "utf8").split("\n");
    const pid = Number(lines[0]);
    const port = Number(lines[3]);
    if (!Number.isInteger(pid) || pid <= 0 || !Number.isInteger(port) || port <= 0) return undefined;
    return isRunning(pid) ? { pid, port } : undefined;
  } catch {
    return undefined;
  }
}

/** A zombie does not count. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
  return !isZombie(pid);
}

/** Dead, but nobody has reaped it: in a container without an init, a killed server stays one for ever and `kill(pid, 0)` takes it for alive. */
function isZombie(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.startsWith("Z") === true;
  } catch {
    return false;
  }
}

/**
 * The server refuses to start beside a `postmaster.pid` whose process it thinks alive. That of a zombie is removed; against backends that still hold the
 * shared memory of this folder the server has a check of its own.
 */
function removeZombiesPidFile(cluster: string): void {
  try {
    const pid = Number(readFileSync(join(cluster, "postmaster.pid"), "utf8").split("\n")[0]);
    if (isZombie(pid)) rmSync(join(cluster, "postmaster.pid"), { force: true });
  } catch {
    // no such file: nothing stands in the way
  }
}

/** Whether a server with our password answers; a foreign process on a recycled pid or port does not. Waits out a server that is starting. */
async function answers(url: string): Promise<boolean> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const sql = postgres(url, { max: 1, connect_timeout: 5, fetch_types: false, onnotice: () => undefined });
    try {
      await sql`select 1`;
      return true;
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code !== "57P03") return false; // anything but "the database system is starting up"
      await new Promise((wake) => setTimeout(wake, 250));
    } finally {
      await sql.end({ timeout: 1 });
    }
  }
  return false;
}

async function choosePort(wanted: number, dataDir: string): Promise<number> {
  if (wanted !== 0) return wanted;
  const last = existsSync(join(dataDir, "port")) ? Number(readFileSync(join(dataDir, "port"), "utf8")) : 0;
  return (await freePort(last)) ?? (await freePort(0)) ?? 0;
}

function freePort(port: number): Promise<number | undefined> {
  return new Promise((settle) => {
    const probe = createServer();
    probe.once("error", () => settle(undefined));
    probe.listen(port, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => settle(typeof address === "object" && address !== null ? address.port : undefined));
    });
  });
}

/** The package's own folder, or a copy in the temp folder when the server's user cannot reach it (a checkout under a 0700 home). */
export function reachableBinaries(user: OsUser | undefined): string {
  const native = realpathSync(findBinaries());
  if (reachable(join(native, "bin/postgres"), user)) return native;
  const copy = join(tmpdir(), `onedata-postgres-${createHash("sha256").update(native).digest("hex").slice(0, 12)}`);
  if (!existsSync(join(copy, "complete"))) {
    cpSync(native, copy, { recursive: true, verbatimSymlinks: true });
    writeFileSync(join(copy, "complete"), "");
  }
  spawnSync("chmod", ["-R", "a+rX", copy]);
  if (!reachable(join(copy, "bin/postgres"), user))
    throw new OneDataError(
      "config.problems",
      `the OS user ${user?.name ?? "of this process"} can read the Postgres binaries neither in ${native} nor in ${copy}`,
    );
  return copy;
}

/**
 * `dataDir`, opened for passing through (not for listing) if it is ours and closed; or for root a folder under /var/lib when a folder above it is closed to
 * the server's user. Never a temp folder: data must survive.
 */
function reachableDataDir(dataDir: string, user: OsUser | undefined, log: (message: string) => void): string {
  mkdirSync(dataDir, { recursive: true });
  if (enterable(dataDir, user)) return dataDir;
  const { uid, mode } = statSync(dataDir);
  if (uid === process.getuid?.()) chmodSync(dataDir, (mode & 0o777) | 0o011);
  if (enterable(dataDir, user)) return dataDir;
  const other = join("/var/lib/onedata", createHash("sha256").update(dataDir).digest("hex").slice(0, 12));
  mkdirSync(other, { recursive: true });
  if (!enterable(other, user))
    throw new OneDataError(
      "config.problems",
      `the OS user ${user?.name ?? "of this process"} can enter neither ${dataDir} nor ${other}; choose another folder`,
    );
  log(`database: the OS user ${user?.name ?? ""} cannot enter ${dataDir}, so the data lies in ${other}`);
  return other;
}

function readOrMakePassword(dataDir: string): string {
  const file = join(dataDir, "pg-password");
  try {
    writeFileSync(file, randomBytes(18).toString("hex"), { mode: 0o600, flag: "wx" });
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
  return readFileSync(file, "utf8").trim();
}

function writeOwned(file: string, text: string, user: OsUser | undefined): void {
  writeFileSync(file, text, { mode: 0o600 });
  chmodSync(file, 0o600);
  if (user !== undefined) chownSync(file, user.uid, user.gid);
}

export function logTail(cluster: string): string {
  try {
    return readFileSync(join(cluster, "server.log"), "utf8").split("\n").slice(-20).join("\n");
  } catch {
    return "(no server log)";
  }
}
