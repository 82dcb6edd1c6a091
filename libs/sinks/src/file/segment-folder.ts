/**
 * A folder of finished segments, and where the next one begins.
 *
 * Invariants:
 * 1. A segment appears whole: it is written under a hidden name, synced, and renamed.
 * 2. Before the rename, and after the sync, the cursor file names the segment's range, and the hidden file is named by its beginning: a hidden file that the cursor names is whole.
 *    After a crash the next opening finishes the rename; so nothing comes twice and nothing is missing,
 *    even where a consumer takes files away the moment they appear.
 * 3. Everything stays below the tenant's folder, also where a symbolic link leads out of it.
 * One exporter per folder and name at a time: the caller sees to that.
 */
import type { FileHandle } from "node:fs/promises";
import { mkdir, open, readdir, readFile, realpath, rename, rm } from "node:fs/promises";
import { join, sep } from "node:path";
import { OneDataError } from "@onedata/core";
import { pathProblem } from "./file-config.ts";

/** Where an output stands among the outputs of its sink; opaque to this file but for its order, which is that of the text. */
export type SegmentRange = { readonly first: string; readonly last: string };

/** The file operations that matter for a crash. Tests stop them at any point. */
export type Files = {
  append(handle: FileHandle, text: string): Promise<void>;
  sync(handle: FileHandle): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  syncFolder(folder: string): Promise<void>;
};

export const nodeFiles: Files = {
  append: (handle, text) => handle.appendFile(text, "utf8"),
  sync: (handle) => handle.sync(),
  rename: (from, to) => rename(from, to),
  async syncFolder(folder) {
    const handle = await open(folder, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};

export interface OpenSegment {
  append(text: string): Promise<void>;
  /** Makes it appear. */
  seal(range: SegmentRange): Promise<void>;
  /** Lets go of the file and touches nothing by name: another exporter may be at work there already. The next opening clears it away. */
  abandon(): Promise<void>;
}

export interface SegmentFolder {
  /** End of the last finished segment; `undefined` = none yet. */
  readonly position: string | undefined;
  openSegment(first: string): Promise<OpenSegment>;
}

export type SegmentFolderOptions = {
  /** The tenant's folder. */
  readonly root: string;
  /** Below it; checked here again. */
  readonly path: string;
  /** Pipeline and sink, so that several may share a folder. */
  readonly name: string;
  readonly extension: "ndjson" | "csv";
  /** Throws when another exporter may have taken over: asked when a segment is written, right before it counts. */
  readonly assertTurn?: () => Promise<void>;
  readonly files?: Files;
};

/** Finishes what a crash left. Throws `config.invalid` for a path that leads out of the tenant's folder. */
export async function openSegmentFolder({
  root,
  path,
  name,
  extension,
  assertTurn,
  files = nodeFiles,
}: SegmentFolderOptions): Promise<SegmentFolder> {
  const folder = await makeFolder(root, path);
  if (pathProblem(name) !== undefined || name.includes("/"))
    throw new OneDataError("config.invalid", `file sink: ${JSON.stringify(name)} cannot be part of a file name`);
  const cursorFile = join(folder, `.${name}.cursor`);
  const temporary = (first: string): string => join(folder, `.${name}.${first}.part`);
  const finalName = ({ first, last }: SegmentRange): string => `${name}.${first}_${last}.${extension}`;

  const writeCursor = async (range: SegmentRange): Promise<void> => {
    const handle = await open(`${cursorFile}.new`, "w", 0o640);
    try {
      await files.append(handle, JSON.stringify(range));
      await files.sync(handle);
    } finally {
      await handle.close();
    }
    await files.rename(`${cursorFile}.new`, cursorFile);
    await files.syncFolder(folder);
  };
  const appear = async (range: SegmentRange): Promise<void> => {
    await files.rename(temporary(range.first), join(folder, finalName(range)));
    await files.syncFolder(folder);
  };

  const entries = await readdir(folder);
  const pending = await readCursor(cursorFile);
  let position = pending?.last;
  for (const entry of entries.filter((candidate) => candidate.startsWith(`.${name}.`) && candidate.endsWith(".part"))) {
    if (pending !== undefined && join(folder, entry) === temporary(pending.first)) await appear(pending);
    else await rm(join(folder, entry), { force: true });
  }
  // A cursor file that was lost: the names of the segments say the same, as long as they are there.
  for (const entry of entries) {
    const match = entry.startsWith(`${name}.`) && entry.endsWith(`.${extension}`) ? /_([^_]+)\.[a-z]+$/.exec(entry.slice(name.length + 1)) : null;
    const last = match?.[1];
    if (last !== undefined && (position === undefined || last > position)) position = last;
  }

  return {
    get position() {
      return position;
    },
    async openSegment(first) {
      const handle = await open(temporary(first), "wx", 0o640);
      return {
        async append(text) {
          try {
            await files.append(handle, text);
          } catch (error) {
            await handle.close();
            throw error;
          }
        },
        async seal(range) {
          try {
            await files.sync(handle);
          } finally {
            await handle.close();
          }
          await assertTurn?.();
          await writeCursor(range);
          await appear(range);
          position = range.last;
        },
        abandon: () => handle.close(),
      };
    },
  };
}

async function readCursor(file: string): Promise<SegmentRange | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(file, "utf8"));
    return isRange(value) ? { first: value.first, last: value.last } : undefined;
  } catch {
    return undefined;
  }
}

const isRange = (value: unknown): value is SegmentRange =>
  typeof value === "object" &&
  value !== null &&
  "first" in value &&
  typeof value.first === "string" &&
  "last" in value &&
  typeof value.last === "string";

async function makeFolder(root: string, path: string): Promise<string> {
  const problem = pathProblem(path);
  if (problem !== undefined) throw new OneDataError("config.invalid", `file sink: ${problem}`);
  await mkdir(root, { recursive: true, mode: 0o750 });
  const top = await realpath(root);
  let folder = top;
  // One name at a time, so that nothing is made behind a link that leads out.
  for (const segment of path.split("/")) {
    await mkdir(join(folder, segment), { mode: 0o750 }).catch((error: unknown) => {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    });
    folder = await realpath(join(folder, segment));
    if (!folder.startsWith(top + sep))
      throw new OneDataError("config.invalid", `file sink: the path ${JSON.stringify(path)} leads out of the tenant's folder`);
  }
  return folder;
}
