/**
 * Refuses captures before the database's disk is full, so that what was accepted can still be worked off: completing an event needs room too.
 *
 * Duty: to look (each second: the folder's free space where it is on this machine, the database's size where a maximum is set), to hear of commits that failed
 * for want of room, and to say who may write. Non-duty: making room.
 * Invariants:
 * 1. Full disks are entered and left at different marks, so that it does not open and shut with every file.
 * 2. After a commit failed (disk full, or the database went away and did not come back in time: a server that cannot extend its WAL ends itself), nothing is
 *    written for some seconds; then one small capture tries, and only its success lets the others in. Each further failure doubles the pause.
 * 3. Between two looks it reckons with what it has let in since, three times over (table, WAL, indexes): a fast sender cannot outrun it.
 * 4. Unknown is open: a folder that cannot be looked at refuses nobody.
 */
import { statfs } from "node:fs/promises";
import { OneDataError } from "@onedata/core";
import { sleep } from "@onedata/mesh";
import type { CaptureOutcome } from "@onedata/store";
import type { Log } from "../http/seam.ts";

export type DiskOptions = {
  /** Where the database's data lies, when that is on this machine. */
  readonly folder?: string | undefined;
  /** Kept free for work in progress. Default: a tenth of the disk, at most 1 GiB. */
  readonly minFreeBytes?: number | undefined;
  /** Of the database (`pg_database_size`); absent = no limit. */
  readonly maxDatabaseBytes?: number | undefined;
};

export interface DiskGuard {
  /** Throws `capture.disk_full` or `store.unavailable` while captures are refused. Call it right before a write of `bytes`, and tell what became of it. */
  admit(bytes: number): void;
  /** Throws the same for an import that would begin only to wait. Nothing is reserved. */
  admitImport(): void;
  /** For imports, which wait instead of failing. Rejects when the signal aborts. */
  whenOpen(bytes: number, signal: AbortSignal): Promise<void>;
  noteOutcomes(outcomes: readonly (readonly CaptureOutcome[])[]): void;
  noteError(error: unknown): void;
  noteWritten(): void;
  /** Looks again. Never rejects. */
  refresh(): Promise<void>;
  readonly figures: DiskFigures;
}

export type DiskFigures = {
  readonly open: boolean;
  /** Bytes; undefined = not known, or no limit set. */
  readonly freeBytes: number | undefined;
  readonly databaseBytes: number | undefined;
  readonly refused: number;
};

export type DiskSources = {
  readonly databaseBytes: () => Promise<number>;
  readonly free?: (folder: string) => Promise<{ readonly freeBytes: number; readonly totalBytes: number }>;
  readonly now?: () => number;
};

const GIB = 1024 ** 3;
/** What one capture may have to be sent ahead as the trial. */
const PROBE_BYTES = 64 * 1024;
const PROBE_PATIENCE_MS = 15_000;
/** A database that went away is mostly back at once; a full disk is not. */
const PAUSES_MS = { "capture.disk_full": { first: 2_000, longest: 30_000 }, "store.unavailable": { first: 250, longest: 2_000 } } as const;
/** Trouble after this time is new trouble. */
const FORGET_MS = 60_000;
const WAIT_MS = 250;
const FULL_RETRY_SECONDS = 30;
const BYTES_ON_DISK = 3;

type Trouble = { readonly code: "capture.disk_full" | "store.unavailable"; readonly untilMs: number; probingUntilMs: number };

export function createDiskGuard(options: DiskOptions, sources: DiskSources, log: Log): DiskGuard {
  const now = sources.now ?? (() => performance.now());
  const free = sources.free ?? readFree;
  let isFull = false;
  let trouble: Trouble | undefined;
  let pauseMs = 0;
  let lastTroubleMs = -Infinity;
  let freeBytes: number | undefined;
  let databaseBytes: number | undefined;
  let roomBytes = Number.POSITIVE_INFINITY;
  /** Let in since the last look, and between it and the one before: those may not be on disk yet. */
  let sinceBytes = 0;
  let beforeBytes = 0;
  let refused = 0;
  let isBlind = false;

  function refusal(bytes: number): OneDataError | undefined {
    if (isFull) return storageFull(FULL_RETRY_SECONDS);
    if (BYTES_ON_DISK * (beforeBytes + sinceBytes + bytes) > roomBytes) return storageFull(1);
    if (trouble === undefined) return undefined;
    const at = now();
    if (at >= trouble.untilMs && at >= trouble.probingUntilMs && bytes <= PROBE_BYTES) {
      trouble.probingUntilMs = at + PROBE_PATIENCE_MS;
      return undefined;
    }
    return awayFor(trouble, at);
  }

  function refuse(error: OneDataError): never {
    refused += 1;
    throw error;
  }

  function note(code: Trouble["code"]): void {
    const at = now();
    // One outage fails many writes at once: those of the same moment count once.
    if (trouble !== undefined && at < trouble.untilMs) return;
    const { first, longest } = PAUSES_MS[code];
    pauseMs = at - lastTroubleMs > FORGET_MS ? first : Math.min(longest, Math.max(first, pauseMs * 2));
    lastTroubleMs = at;
    if (trouble === undefined)
      log.warn(code === "capture.disk_full" ? "the database's disk is full: captures are refused" : "the database is away: captures are refused", {
        forMs: pauseMs,
      });
    trouble = { code, untilMs: at + pauseMs, probingUntilMs: -Infinity };
  }

  function noteError(error: unknown): void {
    if (!(error instanceof OneDataError)) return;
    if (error.code === "capture.disk_full") note("capture.disk_full");
    else if (error.code === "capture.unknown" || error.code === "store.unavailable") note("store.unavailable");
  }

  function noteWritten(): void {
    if (trouble === undefined || now() < trouble.untilMs) return;
    trouble = undefined;
    log.info("captures are written again");
  }

  async function measure(): Promise<boolean> {
    const { folder, maxDatabaseBytes } = options;
    let room = Number.POSITIVE_INFINITY;
    beforeBytes = sinceBytes;
    sinceBytes = 0;
    if (folder !== undefined) {
      const seen = await free(folder);
      freeBytes = seen.freeBytes;
      const floor = options.minFreeBytes ?? Math.min(GIB, seen.totalBytes / 10);
      room = seen.freeBytes - floor * (isFull ? 1.1 : 1);
    }
    if (maxDatabaseBytes !== undefined) {
      databaseBytes = await sources.databaseBytes();
      room = Math.min(room, maxDatabaseBytes * (isFull ? 0.97 : 1) - databaseBytes);
    }
    roomBytes = room;
    return room <= 0;
  }

  return {
    admit(bytes) {
      const error = refusal(bytes);
      if (error !== undefined) refuse(error);
      sinceBytes += bytes;
    },
    admitImport() {
      if (isFull) refuse(storageFull(FULL_RETRY_SECONDS));
      if (trouble !== undefined && now() < trouble.untilMs) refuse(awayFor(trouble, now()));
    },
    async whenOpen(bytes, signal) {
      // An import may be the trial too, whatever its size: there may be nobody else.
      while ((isFull || trouble !== undefined ? refusal(0) : refusal(bytes)) !== undefined) {
        await sleep(WAIT_MS, signal);
        if (signal.aborted) throw OneDataError.from(signal.reason);
      }
      sinceBytes += bytes;
    },
    noteOutcomes(outcomes) {
      let written = false;
      for (const own of outcomes) {
        for (const outcome of own) {
          if (outcome.kind === "failed") noteError(outcome.error);
          // What was refused or busy was answered by the database all the same.
          else written ||= outcome.kind === "captured" && !outcome.duplicate;
        }
      }
      if (written) noteWritten();
      // The trial found another answer (a version that has changed, a key that is held): the next one tries.
      else if (trouble !== undefined) trouble.probingUntilMs = -Infinity;
    },
    noteError,
    noteWritten,
    async refresh() {
      try {
        const full = await measure();
        if (full !== isFull)
          log.warn(full ? "the database's disk is nearly full: captures are refused" : "the database has room again: captures are taken", {
            freeBytes,
            databaseBytes,
          });
        isFull = full;
        isBlind = false;
      } catch (error) {
        if (!isBlind) log.warn("the database's room could not be read", { error });
        isBlind = true;
        isFull = false;
        roomBytes = Number.POSITIVE_INFINITY;
      }
    },
    get figures() {
      return { open: !isFull && trouble === undefined, freeBytes, databaseBytes, refused };
    },
  };
}

function awayFor({ code, untilMs }: Trouble, atMs: number): OneDataError {
  const seconds = Math.max(1, Math.ceil((untilMs - atMs) / 1000));
  return code === "capture.disk_full"
    ? storageFull(seconds)
    : new OneDataError("store.unavailable", "the database is coming back: nothing was captured, try again", { retryAfterSeconds: seconds });
}

/** Tenants are told what it means for them; how much room there is stands in the operator's log. */
const storageFull = (seconds: number): OneDataError =>
  new OneDataError(
    "capture.disk_full",
    "the installation's storage is nearly full and takes nothing new for now; what was accepted is safe and goes on being processed. Try again later, the operator has to make room",
    { retryAfterSeconds: seconds },
  );

async function readFree(folder: string): Promise<{ freeBytes: number; totalBytes: number }> {
  const { bavail, blocks, bsize } = await statfs(folder);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
}
