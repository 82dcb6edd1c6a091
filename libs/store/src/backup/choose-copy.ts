/** Which base copy a restore starts from. */
import { OneDataError } from "@onedata/core";
import { type BaseCopy, listCopies } from "./backup-folder.ts";
import { lastArchivedAt, listSegments } from "./wal-files.ts";
import { followSegments } from "./wal-names.ts";

/** The clock of whoever wrote the archive may differ that much from the server's. */
const CLOCK_SLACK_MS = 60_000;

/**
 * The newest one, or the newest that was finished by `to`, which must lie in the past, and not after the archive's end. It is followed along its own timeline: every timeline in the folder begins with a base copy, because
 * a restored server archives nothing before its first backup. Throws `backup.damaged` when the log it needs has a hole.
 */
export function chooseCopy(folder: string, to: Date | undefined, now = new Date()): BaseCopy {
  if (to !== undefined && to > now)
    throw new OneDataError("backup.failed", `${to.toISOString()} lies in the future (it is ${now.toISOString()}); without --to you get all there is`);
  const { copies, damaged } = listCopies(folder);
  const also = damaged.length === 0 ? "" : `; damaged: ${damaged.map(({ message }) => message).join(", ")}`;
  const copy = copies.findLast(({ manifest }) => to === undefined || new Date(manifest.stoppedAt) <= to);
  if (copy === undefined) {
    const oldest = copies[0]?.manifest.stoppedAt;
    if (oldest === undefined) throw new OneDataError("backup.damaged", `${folder} has no finished base copy${also}`);
    throw new OneDataError("backup.failed", `the oldest base copy in ${folder} was finished at ${oldest}: no restore to a time before it${also}`);
  }
  const { manifest } = copy;
  if (manifest.kind === "external")
    throw new OneDataError(
      "backup.failed",
      `${copy.folder}/data was made by pg_basebackup of your own server: copy it to that server's data folder and start it there (docs/backup.md)`,
    );
  const archivedAt = lastArchivedAt(folder);
  if (to !== undefined && archivedAt !== undefined && to.getTime() > archivedAt.getTime() + CLOCK_SLACK_MS)
    throw new OneDataError(
      "backup.failed",
      `the archive ends before ${to.toISOString()}: its last segment was written at ${archivedAt.toISOString()}; without --to you get all there is`,
    );
  const chain = followSegments(listSegments(folder), manifest.startWal, manifest.segmentBytes);
  if (chain.last === undefined || chain.last < manifest.stopWal)
    throw new OneDataError(
      "backup.damaged",
      `${copy.folder} needs wal/${chain.missing ?? manifest.startWal}.gz, which is missing; --to a time before it uses an older copy`,
    );
  // Up to a given time the server itself says whether it got there.
  if (chain.missing !== undefined && to === undefined)
    throw new OneDataError(
      "backup.damaged",
      `wal/${chain.missing}.gz is missing though later segments are there: the newest state cannot be reached; --to a time that ${chain.last} still holds restores up to there`,
    );
  return copy;
}
