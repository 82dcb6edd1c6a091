/**
 * Copies many files with their SHA-256, each synced to the disk; a folder tree is synced once its files are. (Syncing in a second pass was no faster.)
 * Non-duty: which files. A file may grow, shrink or vanish while it is copied: a running server's log makes up for that.
 */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { chown, type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import type { ManifestFile } from "./manifest.ts";
import { syncFolder, writeOwnedSynced } from "./synced-files.ts";

export type CopyOptions = {
  readonly signal?: AbortSignal | undefined;
  /** Told of bytes as they are copied. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
  /** Somebody else syncs them. */
  readonly unsynced?: boolean | undefined;
  /** Who is to own the copies. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined;
};

const CHUNK_BYTES = 1 << 20;
const PARALLEL = 4;

/** Copies `paths` below `from` to the same paths below `to`. Files that are gone by now are left out of the answer. */
export async function copyFiles(from: string, to: string, paths: readonly string[], options: CopyOptions = {}): Promise<ManifestFile[]> {
  const copied: ManifestFile[] = [];
  await inParallel(paths, async (path) => {
    const file = await copyFile(join(from, path), join(to, path), options);
    if (file !== undefined) copied.push({ path, ...file });
  });
  return copied.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Writes what is in memory already. */
export function storeFile(root: string, path: string, content: Buffer): ManifestFile {
  writeOwnedSynced(join(root, path), content, undefined);
  return { path, bytes: content.length, sha256: createHash("sha256").update(content).digest("hex") };
}

/** The same without a copy. `undefined` = no such file. */
export const hashFile = (file: string, options: CopyOptions = {}): Promise<{ bytes: number; sha256: string } | undefined> =>
  copyFile(file, undefined, options);

async function copyFile(
  from: string,
  to: string | undefined,
  { signal, onBytes, owner, unsynced = false }: CopyOptions,
): Promise<{ bytes: number; sha256: string } | undefined> {
  const source = await openIfThere(from);
  if (source === undefined) return undefined;
  try {
    const target = to === undefined ? undefined : await open(to, "wx", 0o600);
    try {
      const hash = createHash("sha256");
      const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
      let bytes = 0;
      for (;;) {
        signal?.throwIfAborted();
        const { bytesRead } = await source.read(buffer, 0, CHUNK_BYTES, null);
        if (bytesRead === 0) break;
        hash.update(buffer.subarray(0, bytesRead));
        if (target !== undefined) await writeWhole(target, buffer.subarray(0, bytesRead));
        bytes += bytesRead;
        onBytes?.(bytesRead);
      }
      if (!unsynced) await target?.sync();
      if (to !== undefined && owner !== undefined) await chown(to, owner.uid, owner.gid);
      return { bytes, sha256: hash.digest("hex") };
    } finally {
      await target?.close();
    }
  } finally {
    await source.close();
  }
}

async function writeWhole(target: FileHandle, chunk: Buffer): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await target.write(chunk, at, chunk.length - at)).bytesWritten;
}

async function openIfThere(file: string): Promise<FileHandle | undefined> {
  try {
    return await open(file, constants.O_RDONLY);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

export async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let item = items[next++]; item !== undefined; item = items[next++]) await work(item);
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
}

/** Deepest first, so that a folder's entries are on the disk before it is. */
export function syncFolders(root: string, directories: readonly string[]): void {
  for (const directory of [...directories].sort().reverse()) syncFolder(join(root, directory));
  syncFolder(root);
}
