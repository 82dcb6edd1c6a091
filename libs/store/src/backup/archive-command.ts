/**
 * The commands that the server runs to archive a WAL segment and to get one back. The script is copied beside the data, where the server's OS user can
 * read it and where it stays when the program's own folder moves.
 */
import { chmodSync, copyFileSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { OneDataError } from "@onedata/core";
import { chooseOsUser, reachable } from "../embedded/os-user.ts";

const SCRIPT = new URL("../../server/wal-archive.mjs", import.meta.url);
const SCRIPT_NAME = "wal-archive.mjs";

/** `folder` belongs to `owner` (`claimFolder`). */
export const toArchiveCommand = (dataDir: string, folder: string, owner: string): string =>
  `${nodeCommand(dataDir)} push "%p" "%f" ${forServer(folder)} ${forServer(owner)}`;

export const toRestoreCommand = (dataDir: string, folder: string): string => `${nodeCommand(dataDir)} fetch "%f" "%p" ${forServer(folder)}`;

/** NODE_OPTIONS of whoever started the server may name modules that its OS user cannot read. */
const nodeCommand = (dataDir: string): string => `NODE_OPTIONS= ${forServer(process.execPath)} ${forServer(join(dataDir, SCRIPT_NAME))}`;

/** For the shell, and with `%` doubled: the server replaces `%p` and `%f` first. */
const forServer = (word: string): string => `'${word.replaceAll("'", "'\\''").replaceAll("%", "%%")}'`;

/** Throws `config.problems` when the server's OS user cannot run Node. */
export function installArchiveScript(dataDir: string): void {
  const user = chooseOsUser();
  if (!reachable(process.execPath, user))
    throw new OneDataError(
      "config.problems",
      `the OS user ${user?.name ?? "of this process"} runs the database server and cannot read ${process.execPath}: install Node where every user can run it, or run OneData as an ordinary user`,
    );
  const target = join(dataDir, SCRIPT_NAME);
  if (isSame(target)) return;
  const temporary = `${target}.${process.pid}`;
  copyFileSync(SCRIPT, temporary);
  chmodSync(temporary, 0o644);
  renameSync(temporary, target);
}

function isSame(target: string): boolean {
  try {
    return readFileSync(target).equals(readFileSync(SCRIPT));
  } catch {
    return false;
  }
}
