/**
 * Which parts of a running server's data folder belong in a base copy: PostgreSQL's documentation, "Making a Base Backup Using the Low Level API".
 * Left out: what the server makes anew at its start, the log (it is archived), and files of this machine (port, archive, server log).
 */
import { type Dirent, readdirSync } from "node:fs";
import { join } from "node:path";

const CONTENT_LEFT_OUT = new Set(["pg_wal", "pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"]);
const FILES_LEFT_OUT = new Set([
  "postmaster.pid",
  "postmaster.opts",
  "backup_label",
  "backup_label.old",
  "tablespace_map",
  "backup_manifest",
  "recovery.signal",
  "standby.signal",
  "current_logfiles",
  "server.log",
  "onedata.conf",
  "archive.conf",
]);
/** Copied last, when everything else is. */
export const CONTROL_FILE = "global/pg_control";

export type DataFolder = { readonly directories: readonly string[]; readonly files: readonly string[] };

export function listDataFolder(root: string): DataFolder {
  const directories: string[] = [];
  const files: string[] = [];
  const walk = (folder: string): void => {
    for (const entry of entriesOf(join(root, folder))) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) {
        if (entry.name.startsWith("pgsql_tmp")) continue;
        directories.push(path);
        if (folder !== "" || !CONTENT_LEFT_OUT.has(entry.name)) walk(path);
      } else if (entry.isFile() && !isLeftOut(path, entry.name)) files.push(path);
    }
  };
  walk("");
  return { directories, files };
}

/** A database that is dropped meanwhile takes its folder along. */
function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}

/** Temporary relations are `t<backend>_<file>`; init files are caches. */
const isLeftOut = (path: string, name: string): boolean =>
  FILES_LEFT_OUT.has(path) || path === CONTROL_FILE || name.startsWith("pg_internal.init") || name.startsWith("pgsql_tmp") || /^t\d+_\d+/.test(name);
