/**
 * Turns continuous archiving on and off: `archive.conf` in the server's data folder, read again without a restart, and kept over restarts.
 * A base copy never holds that file, so a restored server archives nothing until it is told to: a copy made to have a look cannot spoil the original's archive.
 */
import { chmodSync, chownSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { OneDataError } from "@onedata/core";
import type { Sql } from "../connection.ts";
import { chooseOsUser } from "../embedded/os-user.ts";
import { installArchiveScript, toArchiveCommand } from "./archive-command.ts";
import { archiveStatus } from "./archive-status.ts";
import { claimFolder } from "./backup-folder.ts";
import { copyHistory } from "./wal-files.ts";

/** A segment is archived when it is full, and at the latest after this: what a lost disk costs. */
export const ARCHIVE_EVERY_SECONDS = 60;
const CONFIRM_TIMEOUT_MS = 60_000;
const POLL_MS = 100;

export type ArchiveOptions = {
  readonly dataDir: string;
  readonly folder: string;
  readonly everySeconds: number;
  readonly signal?: AbortSignal | undefined;
};

/** Returns `true` when it was off before, or went elsewhere. Throws `backup.failed` when the first segment does not arrive. */
export async function startArchiving(sql: Sql, { dataDir, folder, everySeconds, signal }: ArchiveOptions): Promise<boolean> {
  const [server] = await sql<{ mode: string; folder: string | null; timeline: number; system: string }[]>`
    select current_setting('archive_mode') as mode, current_setting('onedata.archive_folder', true) as folder,
           (select timeline_id from pg_control_checkpoint())::int as timeline, (select system_identifier from pg_control_system())::text as system`;
  if (server?.mode !== "on")
    throw new OneDataError("backup.failed", "the database was started by a version that could not archive: stop OneData, start it, and try again");
  const isNew = server.folder !== folder;
  const owner = claimFolder(folder, { ownerFile: join(dataDir, "archive-owner"), systemIdentifier: server.system, timeline: server.timeline });
  installArchiveScript(dataDir);
  copyHistory(join(dataDir, "pg", "pg_wal"), folder);
  writeConf(dataDir, [
    `archive_command = ${quoted(toArchiveCommand(dataDir, folder, owner))}`,
    `archive_timeout = '${everySeconds}s'`,
    `onedata.archive_folder = ${quoted(folder)}`,
  ]);
  await sql`select pg_reload_conf()`;
  await waitForSetting(sql, folder);
  if (isNew) {
    const [row] = await sql<{ name: string }[]>`select pg_walfile_name(pg_switch_wal()) as name`;
    if (row !== undefined) await waitForSegment(sql, folder, row.name, { dataDir, signal });
  }
  return isNew;
}

/** The folder keeps what is in it. Returns where the archive went. */
export async function stopArchiving(sql: Sql, dataDir: string): Promise<string | undefined> {
  const { folder } = await archiveStatus(sql);
  writeConf(dataDir, []);
  await sql`select pg_reload_conf()`;
  return folder;
}

/** Until the segment is in the folder. Throws `backup.failed` with the server's reason when it cannot be archived. */
export async function waitForSegment(
  sql: Sql,
  folder: string,
  name: string,
  { dataDir, signal }: { readonly dataDir: string; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const failedBefore = (await archiveStatus(sql)).failedCount;
  const deadlineMs = performance.now() + CONFIRM_TIMEOUT_MS;
  let lastName: string | undefined;
  for (let extendedMs = deadlineMs; !existsSync(join(folder, "wal", `${name}.gz`)); ) {
    signal?.throwIfAborted();
    const status = await archiveStatus(sql);
    // An archive that lags and moves on gets more time.
    if (status.lastArchived !== lastName) [lastName, extendedMs] = [status.lastArchived, performance.now() + CONFIRM_TIMEOUT_MS];
    if (status.failedCount > failedBefore || performance.now() > extendedMs)
      throw new OneDataError(
        "backup.failed",
        `the server cannot archive ${status.lastFailed ?? name} into ${folder}/wal, and keeps it until it can; its log says:\n${archiverLog(dataDir)}`,
      );
    await new Promise((wake) => setTimeout(wake, POLL_MS));
  }
}

const confFile = (dataDir: string): string => join(dataDir, "pg", "archive.conf");

function writeConf(dataDir: string, lines: readonly string[]): void {
  const file = confFile(dataDir);
  writeFileSync(file, `# \`onedata backup\` writes here, \`onedata backup stop\` takes it back.\n${lines.map((line) => `${line}\n`).join("")}`, {
    mode: 0o600,
  });
  chmodSync(file, 0o600);
  const user = chooseOsUser();
  if (user !== undefined) chownSync(file, user.uid, user.gid);
}

/** The postmaster reads the file again a moment after it was asked to. */
async function waitForSetting(sql: Sql, folder: string): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    const [row] = await sql<{ folder: string | null }[]>`select current_setting('onedata.archive_folder', true) as folder`;
    if (row?.folder === folder) return;
    await new Promise((wake) => setTimeout(wake, POLL_MS));
  }
  throw new OneDataError(
    "backup.failed",
    "the server does not take up its archive settings: it was started by an older version; stop OneData, start it, and try again",
  );
}

function archiverLog(dataDir: string): string {
  try {
    const lines = readFileSync(join(dataDir, "pg", "server.log"), "utf8").split("\n");
    return lines
      .filter((line) => /wal-archive|archive command|archiv/.test(line))
      .slice(-6)
      .join("\n");
  } catch {
    return "(the server's log cannot be read)";
  }
}

const quoted = (value: string): string => `'${value.replaceAll("'", "''")}'`;
