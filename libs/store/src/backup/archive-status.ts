/**
 * How the archive is doing. A server that cannot archive keeps every segment: the disk fills, and then captures stop. So this is watched (`onedata doctor`).
 */
import type { Sql, Transaction } from "../connection.ts";

export type ArchiveStatus = {
  /** `off`: the embedded server, and no backup was made of it. `unknown`: a server that archives nothing, as far as can be seen. */
  readonly state: "off" | "ok" | "failing" | "unknown";
  readonly folder: string | undefined;
  readonly lastArchived: string | undefined;
  readonly lastArchivedAt: Date | undefined;
  readonly failedCount: number;
  readonly lastFailed: string | undefined;
  readonly lastFailedAt: Date | undefined;
  /** Finished segments that wait for the archive, and their size; undefined where the role may not look (`pg_monitor`). */
  readonly waitingSegments: number | undefined;
  readonly waitingBytes: number | undefined;
  /** One sentence for people, when there is something to do. */
  readonly problem: string | undefined;
};

type Row = {
  mode: string;
  command: string;
  folder: string | null;
  last_archived: string | null;
  last_archived_at: Date | null;
  failed_count: number;
  last_failed: string | null;
  last_failed_at: Date | null;
  segment_bytes: number;
};

export async function archiveStatus(sql: Sql | Transaction): Promise<ArchiveStatus> {
  const [row] = await sql<Row[]>`
    select current_setting('archive_mode') as mode, current_setting('archive_command') as command,
           nullif(current_setting('onedata.archive_folder', true), '') as folder,
           last_archived_wal as last_archived, last_archived_time as last_archived_at, failed_count::int as failed_count,
           last_failed_wal as last_failed, last_failed_time as last_failed_at,
           (select setting::int from pg_settings where name = 'wal_segment_size') as segment_bytes
      from pg_stat_archiver`;
  const waiting = await countWaiting(sql);
  const isFailing = row?.last_failed_at != null && (row.last_archived_at === null || row.last_failed_at > row.last_archived_at);
  // Somebody else's archive counts too, by what the server says of it.
  const isOff = row?.command === "true";
  const state = row === undefined || row.mode === "off" ? "unknown" : isOff ? "off" : isFailing ? "failing" : "ok";
  const waitingBytes = waiting === undefined ? undefined : waiting * (row?.segment_bytes ?? 0);
  return {
    state,
    folder: row?.folder ?? undefined,
    lastArchived: row?.last_archived ?? undefined,
    lastArchivedAt: row?.last_archived_at ?? undefined,
    failedCount: row?.failed_count ?? 0,
    lastFailed: row?.last_failed ?? undefined,
    lastFailedAt: row?.last_failed_at ?? undefined,
    waitingSegments: waiting,
    waitingBytes,
    problem: describeProblem(state, row, waiting, waitingBytes),
  };
}

function describeProblem(
  state: ArchiveStatus["state"],
  row: Row | undefined,
  waiting: number | undefined,
  waitingBytes: number | undefined,
): string | undefined {
  if (state === "off") return "no backup: a lost disk loses everything; run `onedata backup <folder>` with a folder on another disk";
  if (state !== "failing") return undefined;
  const kept = waiting === undefined ? "" : `; ${waiting} segments (${Math.round((waitingBytes ?? 0) / 1_048_576)} MiB) wait on the database's disk`;
  return `the archive fails since ${row?.last_archived_at?.toISOString() ?? "its start"}: ${row?.last_failed ?? "a segment"} cannot be written to ${row?.folder ?? "the archive"}${kept}; the server's log has the reason`;
}

/** Asked for before it is used: a refusal would end a transaction. */
async function countWaiting(sql: Sql | Transaction): Promise<number | undefined> {
  const [may] = await sql<{ may: boolean }[]>`select has_function_privilege('pg_ls_archive_statusdir()', 'execute') as may`;
  if (may?.may !== true) return undefined;
  const [row] = await sql<{ waiting: number }[]>`select count(*)::int as waiting from pg_ls_archive_statusdir() where name like '%.ready'`;
  return row?.waiting;
}
