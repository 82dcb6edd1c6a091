/** Files that are on the disk when the call returns: written, synced, and their folder synced. Mode 600, folders 700. */
import { chownSync, closeSync, fsyncSync, mkdirSync, openSync, renameSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";

type Owner = { readonly uid: number; readonly gid: number };

export const writeSynced = (file: string, text: string): void => writeOwnedSynced(file, Buffer.from(text), undefined);

export function writeOwnedSynced(file: string, content: Uint8Array, owner: Owner | undefined, mode = 0o600): void {
  const temporary = join(dirname(file), `.${process.pid}.tmp`);
  const opened = openSync(temporary, "w", mode);
  try {
    for (let at = 0; at < content.length; ) at += writeSync(opened, content, at);
    fsyncSync(opened);
  } finally {
    closeSync(opened);
  }
  if (owner !== undefined) chownSync(temporary, owner.uid, owner.gid);
  renameSynced(temporary, file);
}

export function renameSynced(from: string, to: string): void {
  renameSync(from, to);
  syncFolder(dirname(to));
  if (dirname(from) !== dirname(to)) syncFolder(dirname(from));
}

export function makeFolder(folder: string, owner?: Owner): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (owner !== undefined) chownSync(folder, owner.uid, owner.gid);
}

export function syncFolder(folder: string): void {
  const opened = openSync(folder, "r");
  try {
    fsyncSync(opened);
  } finally {
    closeSync(opened);
  }
}
