/** The archived log in a backup folder: `wal/<name>.gz`. */
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzip, gzipSync } from "node:zlib";
import { OneDataError } from "@onedata/core";
import { chooseOsUser } from "../embedded/os-user.ts";
import { writeOwnedSynced } from "./synced-files.ts";
import { parseSegment } from "./wal-names.ts";

const unzip = promisify(gunzip);
/** Of a segment's first page: magic, info, timeline, position, rest length, system identifier, segment size (PostgreSQL's `XLogLongPageHeaderData`). */
const HEADER = { timeline: 4, position: 8, systemIdentifier: 24, segmentBytes: 32 } as const;

/** Names without `.gz`, sorted. */
export function listSegments(folder: string): string[] {
  const wal = join(folder, "wal");
  if (!existsSync(wal)) return [];
  return readdirSync(wal)
    .filter((name) => /^[0-9A-F]{24}\.gz$/.test(name))
    .map((name) => name.slice(0, -3))
    .sort();
}

/** When the newest segment was written: nothing that happened later is archived. */
export function lastArchivedAt(folder: string): Date | undefined {
  const times = listSegments(folder).map((name) => statSync(join(folder, "wal", `${name}.gz`)).mtimeMs);
  return times.length === 0 ? undefined : new Date(Math.max(...times));
}

/** Answers what is wrong with the archived segment, or nothing. */
export async function checkSegment(
  folder: string,
  name: string,
  expected: { readonly systemIdentifier: string; readonly segmentBytes: number },
): Promise<string | undefined> {
  let content: Buffer;
  try {
    content = await unzip(await readFile(join(folder, "wal", `${name}.gz`)));
  } catch (error) {
    return `wal/${name}.gz cannot be read: ${error instanceof Error ? error.message : String(error)}`;
  }
  if (content.length !== expected.segmentBytes) return `wal/${name}.gz holds ${content.length} bytes instead of ${expected.segmentBytes}`;
  const segment = parseSegment(name, expected.segmentBytes);
  const [timeline, position] = [content.readUInt32LE(HEADER.timeline), content.readBigUInt64LE(HEADER.position)];
  // A segment that begins a timeline is a copy of its parent's up to the switch, so its first pages may carry the parent's number.
  if (segment === undefined || timeline > segment.timeline || position !== segment.index * BigInt(expected.segmentBytes))
    return `wal/${name}.gz holds the segment at ${position.toString(16)} of timeline ${timeline}`;
  if (content.readBigUInt64LE(HEADER.systemIdentifier) !== BigInt(expected.systemIdentifier)) return `wal/${name}.gz is of another database`;
  return undefined;
}

/** Timeline histories that are not archived yet, as after a restore: without them the next restore would use a timeline's number twice. */
export function copyHistory(from: string, folder: string): void {
  for (const name of readdirSync(from).filter((file) => file.endsWith(".history"))) {
    const target = join(folder, "wal", `${name}.gz`);
    if (existsSync(target)) continue;
    writeOwnedSynced(target, gzipSync(readFileSync(join(from, name))), chooseOsUser());
  }
}

/** Removes segments before `firstKept` of every timeline, and what half-written copies left. Returns how many segments it removed. */
export function removeSegmentsBefore(folder: string, firstKept: string, segmentBytes: number): number {
  const first = parseSegment(firstKept, segmentBytes);
  if (first === undefined) throw new OneDataError("internal", `${firstKept} is no segment`);
  let removed = 0;
  for (const file of readdirSync(join(folder, "wal"))) {
    // `<segment>.gz`, `<segment>.<position>.backup.gz`
    const segment = parseSegment(file.slice(0, 24), segmentBytes);
    if (segment === undefined || segment.index >= first.index) continue;
    rmSync(join(folder, "wal", file), { force: true });
    if (file.length === 27) removed += 1;
  }
  return removed;
}
