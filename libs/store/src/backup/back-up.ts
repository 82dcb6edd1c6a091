/**
 * `onedata backup`: a base copy of the embedded database while it runs, with the archive that carries it on from there.
 *
 * The server's package brings no pg_basebackup, so this is PostgreSQL's low-level API: pg_backup_start, a copy of the data folder, pg_backup_stop. The
 * session stays open in between; if it ends, so does the backup.
 * Invariants:
 * 1. The archive works before the copy begins, and holds every segment that the copy needs before the copy gets its name.
 * 2. A copy is made under a name with a dot, synced, and renamed: what has a label is whole.
 * 3. Old copies and their log go only after the new one stands.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { OneDataError } from "@onedata/core";
import type { Sql } from "../connection.ts";
import { ARCHIVE_EVERY_SECONDS, startArchiving, waitForSegment } from "./archive.ts";
import { isOnSameDisk, prepareFolder } from "./backup-folder.ts";
import { copyFiles, storeFile, syncFolders } from "./copy-files.ts";
import { CONTROL_FILE, listDataFolder } from "./data-folder.ts";
import { openHomeDatabase } from "./home-database.ts";
import { type Manifest, type ManifestFile, writeManifest } from "./manifest.ts";
import { removeOldCopies } from "./retention.ts";
import { makeFolder, renameSynced } from "./synced-files.ts";
import { refuseTablespaces } from "./tablespaces.ts";

export type BackUpOptions = {
  readonly home: string;
  readonly folder: string;
  /** How many base copies stay, the new one included. */
  readonly keep: number;
  /** How long a change may wait until it is archived. */
  readonly archiveEverySeconds?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** `total` is an estimate: the data grows and shrinks meanwhile. */
  readonly onProgress?: ((bytes: number, totalBytes: number) => void) | undefined;
};

export type BackUpResult = {
  readonly label: string;
  readonly folder: string;
  readonly files: number;
  readonly bytes: number;
  readonly seconds: number;
  /** The archive was off before, or went elsewhere. */
  readonly archiveStarted: boolean;
  readonly removedCopies: readonly string[];
  readonly removedSegments: number;
  /** What people should know, one sentence each. */
  readonly warnings: readonly string[];
};

/** Files of a home that a backup needs to be of use: the key of the connections' secrets, the first client. */
export const HOME_FILES = ["secret.key", "client.json"] as const;
/** Of the database's superuser, beside its data. */
export const PASSWORD_FILE = "pg-password";
/** Another one of this server must not run at the same time: the older would remove the newer's unfinished copy. */
const LOCK = 7305809184;

/** Throws `backup.failed` when the archive or the copy cannot be made, `config.problems` when the folder or the home will not do. */
export async function backUp(options: BackUpOptions): Promise<BackUpResult> {
  const startMs = performance.now();
  await using database = await openHomeDatabase(options.home);
  const { sql, dataDir } = database;
  const folder = prepareFolder(options.folder, dataDir);
  await refuseTablespaces(sql);
  const [lock] = await sql<{ locked: boolean }[]>`select pg_try_advisory_lock(${LOCK}) as locked`;
  if (lock?.locked !== true) throw new OneDataError("backup.failed", "another backup of this database is being made; wait until it is done");
  const archiveStarted = await startArchiving(sql, {
    dataDir,
    folder,
    everySeconds: options.archiveEverySeconds ?? ARCHIVE_EVERY_SECONDS,
    signal: options.signal,
  });
  const manifest = await copyBase(sql, folder, dataDir, options);
  const removed = removeOldCopies(folder, options.keep);
  return {
    label: manifest.label,
    folder: join(folder, "base", manifest.label),
    files: manifest.files.length,
    bytes: manifest.files.reduce((sum, { bytes }) => sum + bytes, 0),
    seconds: (performance.now() - startMs) / 1000,
    archiveStarted,
    removedCopies: removed.copies,
    removedSegments: removed.segments,
    warnings: [
      ...(isOnSameDisk(folder, dataDir) ? [`${folder} lies on the same disk as the data: a lost disk loses both`] : []),
      ...HOME_FILES.filter((name) => !manifest.home.some(({ path }) => path === name)).map(
        (name) => `${options.home} has no ${name}: keep it elsewhere, the backup does not hold it`,
      ),
    ],
  };
}

async function copyBase(sql: Sql, folder: string, dataDir: string, { home, signal, onProgress }: BackUpOptions): Promise<Manifest> {
  removeUnfinished(folder);
  const [begun] = await sql<{ at: Date; label: string }[]>`
    select clock_timestamp() as at, to_char(clock_timestamp() at time zone 'UTC', 'YYYYMMDD"T"HH24MISSMS"Z"') as label`;
  if (begun === undefined) throw new OneDataError("internal", "the database has no clock");
  const unfinished = join(folder, "base", `.${begun.label}`);
  makeFolder(join(unfinished, "data"));
  makeFolder(join(unfinished, "home"));
  try {
    await sql`select pg_backup_start(${begun.label}, true)`;
    const data = await copyData(join(dataDir, "pg"), join(unfinished, "data"), { signal, onProgress });
    const [stopped] = await sql<{ labelfile: string; stop_wal: string; at: Date; system: string; version: number; segment_bytes: number }[]>`
      select s.labelfile, pg_walfile_name(s.lsn) as stop_wal, clock_timestamp() as at, (select system_identifier from pg_control_system())::text as system,
             current_setting('server_version_num')::int as version, (select setting::int from pg_settings where name = 'wal_segment_size') as segment_bytes
        from pg_backup_stop(false) s`;
    const startWal = /\(file ([0-9A-F]{24})\)/.exec(stopped?.labelfile ?? "")?.[1];
    if (stopped === undefined || startWal === undefined) throw new OneDataError("internal", "pg_backup_stop gave no label");
    const label = storeFile(join(unfinished, "data"), "backup_label", Buffer.from(stopped.labelfile));
    const homeFiles = copyHome(home, dataDir, join(unfinished, "home"));
    await waitForSegment(sql, folder, stopped.stop_wal, { dataDir, signal });
    const manifest: Manifest = {
      format: 1,
      kind: "embedded",
      label: begun.label,
      startedAt: begun.at.toISOString(),
      stoppedAt: stopped.at.toISOString(),
      systemIdentifier: stopped.system,
      serverVersion: stopped.version,
      timeline: Number.parseInt(startWal.slice(0, 8), 16),
      segmentBytes: stopped.segment_bytes,
      startWal,
      stopWal: stopped.stop_wal,
      directories: data.directories,
      files: [...data.files, label],
      home: homeFiles,
    };
    syncFolders(join(unfinished, "data"), data.directories);
    writeManifest(unfinished, manifest);
    renameSynced(unfinished, join(folder, "base", begun.label));
    return manifest;
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    throw error;
  }
}

type CopiedData = { readonly directories: readonly string[]; readonly files: readonly ManifestFile[] };

async function copyData(from: string, to: string, { signal, onProgress }: Pick<BackUpOptions, "signal" | "onProgress">): Promise<CopiedData> {
  const { directories, files } = listDataFolder(from);
  for (const directory of directories) mkdirSync(join(to, directory), { recursive: true, mode: 0o700 });
  const totalBytes = files.reduce((sum, path) => sum + sizeOf(join(from, path)), 0);
  let done = 0;
  const onBytes = (bytes: number): void => {
    done += bytes;
    onProgress?.(done, Math.max(done, totalBytes));
  };
  const copied = await copyFiles(from, to, files, { signal, onBytes });
  return { directories, files: [...copied, storeFile(to, CONTROL_FILE, await readControlFile(join(from, CONTROL_FILE)))] };
}

/** The server writes its control file in place: what two looks agree on is whole. */
async function readControlFile(file: string): Promise<Buffer> {
  for (let before = readFileSync(file), tries = 0; tries < 100; tries++) {
    await new Promise((wake) => setTimeout(wake, 5));
    const now = readFileSync(file);
    if (now.equals(before)) return now;
    before = now;
  }
  throw new OneDataError("backup.failed", `${file} does not hold still`);
}

function copyHome(home: string, dataDir: string, target: string): ManifestFile[] {
  const sources = [...HOME_FILES.map((name) => ({ name, file: join(home, name) })), { name: PASSWORD_FILE, file: join(dataDir, PASSWORD_FILE) }];
  return sources.filter(({ file }) => existsSync(file)).map(({ name, file }) => storeFile(target, name, readFileSync(file)));
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

/** Of backups that were killed. */
function removeUnfinished(folder: string): void {
  for (const name of readdirSync(join(folder, "base"))) {
    if (name.startsWith(".")) rmSync(join(folder, "base", name), { recursive: true, force: true });
  }
}
