// What the database server runs for each finished WAL segment (`push`), and for each segment that a recovery asks for (`fetch`).
//   node wal-archive.mjs push <path> <name> <backup folder> <owner>
//   node wal-archive.mjs fetch <name> <path> <backup folder>
//
// Plain JavaScript with nothing but Node built-ins: it is copied beside the data and runs as the server's OS user.
// Invariants:
// 1. Exit code 0 of `push` means: the bytes are on the disk under their final name, file and folder synced. Anything else makes the server keep the segment.
// 2. A name is never overwritten: the same content again is a success (the server died before it noted the first), another content an error.
// 3. Only the owner of the folder writes to it. A folder without its `owner` file is a disk that is not mounted.
// 4. `fetch` ends with 1 when there is no such segment (the end of the archive), and with 255 when there is one that cannot be read: then recovery stops
//    instead of ending early with less than there is.
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";

const [mode, ...rest] = process.argv.slice(2);

if (mode === "push") push(rest);
else if (mode === "fetch") fetchSegment(rest);
else fail(2, `unknown mode ${String(mode)}`);

function push([path = "", name = "", folder = "", owner = ""]) {
  if (readOwner(folder) !== owner)
    fail(1, `${folder} belongs to another server by now, or is not mounted: run \`onedata backup\` with a folder of this server's own`);
  const archive = join(folder, "wal");
  const target = join(archive, `${name}.gz`);
  const content = readFileSync(path);
  const known = readIfThere(target);
  if (known !== undefined) {
    if (isSame(known, content)) return;
    fail(1, `${target} is there already with another content; it is not overwritten`);
  }
  const temporary = join(archive, `.${name}.${process.pid}`);
  try {
    const file = openSync(temporary, "wx", 0o600);
    try {
      const packed = gzipSync(content, { level: 1 });
      for (let at = 0; at < packed.length; ) at += writeSync(file, packed, at);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    settle(temporary, target);
  } catch (error) {
    fail(1, `${target}: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    rmSync(temporary, { force: true });
  }
  const opened = openSync(archive, "r");
  fsyncSync(opened);
  closeSync(opened);
}

/** A hard link fails when the name is taken, which a rename does not. File systems without hard links get the rename. */
function settle(temporary, target) {
  try {
    linkSync(temporary, target);
  } catch (error) {
    if (!["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"].includes(error.code)) throw error;
    renameSync(temporary, target);
  }
}

function fetchSegment([name = "", path = "", folder = ""]) {
  const source = join(folder, "wal", `${name}.gz`);
  try {
    const packed = readIfThere(source);
    if (packed === undefined) process.exit(1);
    const content = gunzipSync(packed);
    const file = openSync(path, "w", 0o600);
    for (let at = 0; at < content.length; ) at += writeSync(file, content, at);
    closeSync(file);
  } catch (error) {
    fail(255, `${source}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function isSame(packed, content) {
  try {
    return gunzipSync(packed).equals(content);
  } catch {
    return false;
  }
}

function readOwner(folder) {
  return readIfThere(join(folder, "owner"))?.toString("utf8").trim();
}

function readIfThere(file) {
  try {
    return readFileSync(file);
  } catch (error) {
    if (error.code === "ENOENT") return undefined;
    return fail(mode === "fetch" ? 255 : 1, `${file}: ${error.message}`);
  }
}

function fail(code, message) {
  process.stderr.write(`onedata wal-archive: ${message}\n`);
  process.exit(code);
}
