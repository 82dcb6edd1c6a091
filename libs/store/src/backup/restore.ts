/**
 * `onedata restore`: a home's database as it was at the end of the archive, or at a time before.
 *
 * Everything happens in a folder beside the final one: copy the base (each file held against the manifest as it is copied), let the server recover from the
 * archive, wait until it is promoted, fence what ran, stop it. Only then is an old data folder moved aside and the new one put in its place.
 * Invariants: a restore that fails or is killed leaves what was there as it was; nothing is ever overwritten or removed; a restored server archives nothing
 * until the next `onedata backup`.
 */
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OneDataError } from "@onedata/core";
import { connect } from "../connection.ts";
import { waitForGuard } from "../embedded/guard.ts";
import { lockHome } from "../embedded/home-lock.ts";
import { chooseOsUser } from "../embedded/os-user.ts";
import { type EmbeddedPostgres, isRunning, locateDataDir, logTail, openEmbeddedPostgres } from "../embedded/server.ts";
import { installArchiveScript, toRestoreCommand } from "./archive-command.ts";
import { HOME_FILES, PASSWORD_FILE } from "./back-up.ts";
import type { BaseCopy } from "./backup-folder.ts";
import { chooseCopy } from "./choose-copy.ts";
import { copyFiles } from "./copy-files.ts";
import { type Fenced, fenceRestored } from "./fence-restored.ts";
import type { ManifestFile } from "./manifest.ts";
import { makeFolder, renameSynced, writeOwnedSynced } from "./synced-files.ts";

export type RestoreOptions = {
  readonly folder: string;
  readonly home: string;
  /** Absent: as far as the archive goes. */
  readonly to?: Date | undefined;
  /** Moves an existing database and keys aside; without it they are a refusal. */
  readonly force?: boolean | undefined;
  /** Pauses all pipelines, so that nothing is delivered before somebody has looked. */
  readonly paused?: boolean | undefined;
  /** Of the platform in the server; others are restored with it. */
  readonly database?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((bytes: number, totalBytes: number) => void) | undefined;
  readonly onPhase?: ((phase: "copying" | "recovering") => void) | undefined;
};

export type RestoreResult = {
  readonly label: string;
  readonly home: string;
  /** Of the last transaction that is in the database; undefined when the base copy needed none. */
  readonly reached: Date | undefined;
  readonly copySeconds: number;
  readonly recoverySeconds: number;
  readonly fenced: Fenced;
  /** What was moved aside, with its new names. */
  readonly movedAside: readonly string[];
};

/** Until it begins to recover: first it syncs the folder. */
const START_TIMEOUT_SECONDS = 600;
const POLL_MS = 200;

/** Throws `config.problems` when something is in the way, `backup.damaged` when the backup is not whole, `backup.failed` when the server does not get there. */
export async function restoreBackup(options: RestoreOptions): Promise<RestoreResult> {
  const { folder, home, to } = options;
  const copy = chooseCopy(folder, to);
  await using _lock = lockHome(home);
  const dataDir = locateDataDir(join(home, "postgres"));
  const inTheWay = findInTheWay(home, dataDir);
  if (inTheWay.length > 0 && options.force !== true)
    throw new OneDataError("config.problems", `${inTheWay.join(" and ")} would be replaced: name another home, or say --force, which moves it aside`);
  const staging = `${dataDir}.restoring`;
  await waitForGuard(dataDir);
  refuseRunning(dataDir);
  refuseRunning(staging); // of a restore that was killed
  rmSync(staging, { recursive: true, force: true });
  try {
    const startMs = performance.now();
    options.onPhase?.("copying");
    await copyBack(copy, staging, options);
    const recoverMs = performance.now();
    options.onPhase?.("recovering");
    const { reached, fenced } = await recover(copy, staging, options);
    const doneMs = performance.now();
    const movedAside = settle({ copy, home, dataDir, staging });
    return {
      label: copy.manifest.label,
      home,
      reached,
      copySeconds: (recoverMs - startMs) / 1000,
      recoverySeconds: (doneMs - recoverMs) / 1000,
      fenced,
      movedAside,
    };
  } catch (error) {
    rmSync(staging, { recursive: true, force: true });
    throw error;
  }
}

async function copyBack({ folder, manifest }: BaseCopy, staging: string, { signal, onProgress }: RestoreOptions): Promise<void> {
  const user = chooseOsUser();
  const data = join(staging, "pg");
  mkdirSync(staging, { recursive: true, mode: 0o711 });
  chmodSync(staging, 0o711);
  makeFolder(data, user);
  for (const directory of [...manifest.directories].sort()) makeFolder(join(data, directory), user);
  makeFolder(join(data, "pg_wal"), user);
  const totalBytes = manifest.files.reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  const onBytes = (bytes: number): void => {
    done += bytes;
    onProgress?.(done, totalBytes);
  };
  const paths = manifest.files.map(({ path }) => path);
  const copied = await copyFiles(join(folder, "data"), data, paths, { signal, onBytes, owner: user, unsynced: true }); // a server that recovers syncs its whole folder first
  assertSame(join(folder, "data"), manifest.files, copied);
  assertSame(
    join(folder, "home"),
    manifest.home,
    await copyFiles(
      join(folder, "home"),
      staging,
      manifest.home.map(({ path }) => path),
    ),
  );
}

function assertSame(root: string, expected: readonly ManifestFile[], copied: readonly ManifestFile[]): void {
  const found = new Map(copied.map((file) => [file.path, file.sha256]));
  const changed = expected.filter(({ path, sha256 }) => found.get(path) !== sha256);
  if (changed.length > 0)
    throw new OneDataError(
      "backup.damaged",
      `${changed.length} files are missing or have changed since the backup, e.g. ${join(root, changed[0]?.path ?? "")}; --to a time before it uses an older copy`,
    );
}

async function recover({ manifest }: BaseCopy, staging: string, options: RestoreOptions): Promise<{ reached: Date | undefined; fenced: Fenced }> {
  installArchiveScript(staging);
  const user = chooseOsUser();
  const signalFile = join(staging, "pg", "recovery.signal");
  writeFileSync(signalFile, "", { mode: 0o600 });
  copyOwnership(signalFile, user);
  // They do not outlive the recovery: the next start writes its own.
  const settings = {
    restore_command: toRestoreCommand(staging, options.folder),
    // Its own timeline: the number of the next one is looked up in the archive all the same.
    recovery_target_timeline: "current",
    recovery_target_action: "promote",
    ...(options.to === undefined ? {} : { recovery_target_time: options.to.toISOString().replace("T", " ").replace("Z", "+00") }),
    // Replaying needs no settings as large as the original's then.
    hot_standby: "off",
  };
  try {
    await using server = await openEmbeddedPostgres({ dataDir: staging, settings, startTimeoutSeconds: START_TIMEOUT_SECONDS, attempts: 1 });
    await waitUntilPromoted(server, options.signal);
    const sql = connect(urlOf(server.url, options.database ?? "onedata"), { max: 1, applicationName: "onedata-restore" });
    try {
      const [row] = await sql<{ reached: Date | null }[]>`select pg_last_xact_replay_timestamp() as reached`;
      const reached = row?.reached ?? undefined;
      const detail = { copy: manifest.label, to: options.to?.toISOString() ?? null, reached: reached?.toISOString() ?? null };
      const fenced = await fenceRestored(sql, { detail, paused: options.paused === true });
      await sql`checkpoint`;
      return { reached, fenced };
    } finally {
      await sql.end({ timeout: 5 });
    }
  } catch (error) {
    throw explainFailure(error, options.to, manifest.stoppedAt);
  }
}

/** With `hot_standby` off the server lets nobody in before. Throws with the end of its log when it gives up. */
async function waitUntilPromoted(server: EmbeddedPostgres, signal: AbortSignal | undefined): Promise<void> {
  const cluster = join(server.dataDir, "pg");
  const pid = Number(readFileSync(join(cluster, "postmaster.pid"), "utf8").split("\n")[0]);
  for (;;) {
    signal?.throwIfAborted();
    const sql = connect(server.url, { max: 1, applicationName: "onedata-restore" });
    try {
      const [row] = await sql<{ waits: boolean }[]>`select pg_is_in_recovery() as waits`;
      if (row?.waits === false) return;
    } catch (error) {
      if (!isRunning(pid)) throw new OneDataError("backup.failed", `the server gave up its recovery:\n${logTail(cluster)}`, { cause: error });
    } finally {
      await sql.end({ timeout: 1 });
    }
    await new Promise((wake) => setTimeout(wake, POLL_MS));
  }
}

function explainFailure(error: unknown, to: Date | undefined, copiedAt: string): unknown {
  if (!(error instanceof OneDataError)) return error;
  if (to !== undefined && error.message.includes("recovery ended before configured recovery target was reached"))
    return new OneDataError(
      "backup.failed",
      `the archive ends before ${to.toISOString()}: nothing that happened at or after that time is archived (the base copy is of ${copiedAt}); without --to you get all there is`,
      { cause: error },
    );
  return error.code === "config.problems" ? new OneDataError("backup.failed", error.message, { cause: error }) : error;
}

function copyOwnership(file: string, user: ReturnType<typeof chooseOsUser>): void {
  if (user !== undefined) chownSync(file, user.uid, user.gid);
}

function findInTheWay(home: string, dataDir: string): string[] {
  return [join(dataDir, "pg"), ...HOME_FILES.map((name) => join(home, name))].filter((path) => existsSync(path));
}

/** A server that outlived its OneData would go on writing into the folder that is moved aside. */
function refuseRunning(dataDir: string): void {
  const file = join(dataDir, "pg", "postmaster.pid");
  if (!existsSync(file)) return;
  const pid = Number(readFileSync(file, "utf8").split("\n")[0]);
  if (!isRunning(pid)) return;
  throw new OneDataError(
    "config.problems",
    `a database server still runs in ${dataDir} (process ${pid}): stop it with \`kill -INT ${pid}\`, then restore`,
  );
}

type Settled = { readonly copy: BaseCopy; readonly home: string; readonly dataDir: string; readonly staging: string };

/** Old things aside, new things in: renames only. */
function settle({ copy, home, dataDir, staging }: Settled): string[] {
  const stamp = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const movedAside: string[] = [];
  const moveAside = (path: string): void => {
    const aside = `${path}.before-restore-${stamp}`;
    renameSynced(path, aside);
    movedAside.push(aside);
  };
  const names = copy.manifest.home.map(({ path }) => path).filter((path) => path !== PASSWORD_FILE);
  for (const name of names) {
    const [restored, target] = [join(staging, name), join(home, name)];
    const isThere = existsSync(target);
    if (isThere && !readFileSync(target).equals(readFileSync(restored))) moveAside(target);
    if (!existsSync(target)) writeOwnedSynced(target, readFileSync(restored), undefined);
    rmSync(restored);
  }
  if (readdirSync(dataDir).length > 0) moveAside(dataDir);
  else rmdirSync(dataDir);
  renameSynced(staging, dataDir);
  return movedAside;
}

function urlOf(server: string, database: string): string {
  const url = new URL(server);
  url.pathname = `/${database}`;
  return url.href;
}
