/** Which copies and which part of the log stay: the newest `keep` copies, and every segment from the oldest of them on. */
import { rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { listCopies } from "./backup-folder.ts";
import { renameSynced } from "./synced-files.ts";
import { removeSegmentsBefore } from "./wal-files.ts";
import { parseSegment } from "./wal-names.ts";

/** Copies whose manifest is damaged stay: somebody should look at them. */
export function removeOldCopies(folder: string, keep: number): { readonly copies: readonly string[]; readonly segments: number } {
  const { copies } = listCopies(folder);
  const old = copies.slice(0, Math.max(0, copies.length - Math.max(1, keep)));
  for (const copy of old) {
    // First out of sight: a removal that is cut short must not leave half a copy under its name.
    const unfinished = join(dirname(copy.folder), `.${copy.manifest.label}.old`);
    renameSynced(copy.folder, unfinished);
    rmSync(unfinished, { recursive: true, force: true });
  }
  const kept = copies.slice(old.length).map(({ manifest }) => manifest);
  const [first] = [...kept].sort((a, b) => Number(indexOf(a.startWal, a.segmentBytes) - indexOf(b.startWal, b.segmentBytes)));
  return {
    copies: old.map(({ manifest }) => manifest.label),
    segments: first === undefined || first.kind === "external" ? 0 : removeSegmentsBefore(folder, first.startWal, first.segmentBytes),
  };
}

const indexOf = (name: string, segmentBytes: number): bigint => parseSegment(name, segmentBytes)?.index ?? 0n;
