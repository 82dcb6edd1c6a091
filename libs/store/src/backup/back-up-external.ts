/**
 * A base copy of a Postgres that is not ours, with its own tools: `pg_basebackup` takes the copy with the log it needs. No archive is kept: for recovery to a
 * point in time that server needs one of its own (pgBackRest, WAL-G, the provider's), and whoever runs it has it or wants it.
 */
import { execFile } from "node:child_process";
import { accessSync, constants, mkdirSync, readdirSync, rmSync } from "node:fs";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { OneDataError } from "@onedata/core";
import { connect } from "../connection.ts";
import type { BackUpResult } from "./back-up.ts";
import { hashFile, inParallel } from "./copy-files.ts";
import { type ManifestFile, writeManifest } from "./manifest.ts";
import { removeOldCopies } from "./retention.ts";
import { makeFolder, renameSynced, syncFolder } from "./synced-files.ts";
import { refuseTablespaces } from "./tablespaces.ts";

export type ExternalBackUpOptions = {
  readonly url: string;
  readonly folder: string;
  readonly keep: number;
  /** Where programs are looked for: PATH. */
  readonly path: string;
  readonly signal?: AbortSignal | undefined;
};

const run = promisify(execFile);
const INSTEAD =
  "install the client programs of the server's version, or use what its operators use: pgBackRest or WAL-G for a server of your own, the provider's backups and point-in-time recovery for a managed one; keep ONEDATA_SECRET_KEY with either";

/** Throws `backup.failed` without pg_basebackup, without the right to replicate, beside tablespaces, or when the server has a newer version than it. */
export async function backUpExternal({ url, folder, keep, path, signal }: ExternalBackUpOptions): Promise<BackUpResult> {
  const startMs = performance.now();
  const program = findProgram("pg_basebackup", path);
  if (program === undefined)
    throw new OneDataError("backup.failed", `a backup of a database given by URL needs pg_basebackup, and it is not on PATH: ${INSTEAD}`);
  const server = await describeServer(url);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  makeFolder(join(folder, "base"));
  const unfinished = join(folder, "base", `.${server.label}`);
  makeFolder(unfinished);
  makeFolder(join(unfinished, "home"));
  try {
    await runBaseBackup(program, url, join(unfinished, "data"), signal);
    const { files, directories } = await describeFiles(join(unfinished, "data"), signal);
    writeManifest(unfinished, {
      format: 1,
      kind: "external",
      label: server.label,
      startedAt: server.at.toISOString(),
      stoppedAt: new Date(server.at.getTime() + (performance.now() - startMs)).toISOString(),
      systemIdentifier: server.system,
      serverVersion: server.version,
      timeline: server.timeline,
      segmentBytes: server.segmentBytes,
      startWal: server.wal,
      stopWal: server.wal,
      directories,
      files,
      home: [],
    });
    syncFolder(unfinished);
    renameSynced(unfinished, join(folder, "base", server.label));
    const removed = removeOldCopies(folder, keep);
    return {
      label: server.label,
      folder: join(folder, "base", server.label),
      files: files.length,
      bytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
      seconds: (performance.now() - startMs) / 1000,
      archiveStarted: false,
      removedCopies: removed.copies,
      removedSegments: removed.segments,
      warnings: [
        "this copy stands for its own moment: for a later point in time the server needs an archive of its own (pgBackRest, WAL-G, pg_receivewal, the provider's)",
        "the key of the connections' secrets (ONEDATA_SECRET_KEY, or secret.key of a home) is not in it: keep it elsewhere",
      ],
    };
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    throw error;
  }
}

/** The password goes by the environment: arguments are visible to everybody on the machine. */
async function runBaseBackup(program: string, url: string, target: string, signal: AbortSignal | undefined): Promise<void> {
  const bare = new URL(url);
  const password = decodeURIComponent(bare.password);
  bare.password = "";
  try {
    const args = [
      "--pgdata",
      target,
      "--wal-method=stream",
      "--checkpoint=fast",
      "--manifest-checksums=SHA256",
      "--no-password",
      "--dbname",
      bare.href,
    ];
    await run(program, args, { env: { PATH: "/usr/bin:/bin", PGPASSWORD: password, LC_ALL: "C" }, ...(signal === undefined ? {} : { signal }) });
  } catch (cause) {
    const said = cause instanceof Error && "stderr" in cause && typeof cause.stderr === "string" ? cause.stderr.trim() : String(cause);
    throw new OneDataError("backup.failed", `pg_basebackup failed: ${said}\n${INSTEAD}`, { cause });
  }
}

async function describeServer(url: string) {
  const sql = connect(url, { max: 1, applicationName: "onedata-backup" });
  try {
    const [row] = await sql<{ at: Date; label: string; system: string; version: number; timeline: number; wal: string; segmentBytes: number }[]>`
      select clock_timestamp() as at, to_char(clock_timestamp() at time zone 'UTC', 'YYYYMMDD"T"HH24MISSMS"Z"') as label,
             (select system_identifier from pg_control_system())::text as system, current_setting('server_version_num')::int as version,
             (select timeline_id from pg_control_checkpoint())::int as timeline, pg_walfile_name(pg_current_wal_lsn()) as wal,
             (select setting::int from pg_settings where name = 'wal_segment_size') as "segmentBytes"`;
    if (row === undefined) throw new OneDataError("internal", "the server describes itself by no row");
    await refuseTablespaces(sql);
    return row;
  } finally {
    await sql.end({ timeout: 5 });
  }
}

async function describeFiles(root: string, signal: AbortSignal | undefined): Promise<{ files: ManifestFile[]; directories: string[] }> {
  const entries = readdirSync(root, { recursive: true, withFileTypes: true });
  const pathOf = (entry: (typeof entries)[number]): string => join(entry.parentPath, entry.name).slice(root.length + 1);
  const files: ManifestFile[] = [];
  await inParallel(entries.filter((entry) => entry.isFile()).map(pathOf), async (path) => {
    const found = await hashFile(join(root, path), { signal });
    if (found !== undefined) files.push({ path, ...found });
  });
  return { files, directories: entries.filter((entry) => entry.isDirectory()).map(pathOf) };
}

function findProgram(name: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}
