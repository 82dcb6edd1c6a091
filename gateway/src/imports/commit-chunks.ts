/**
 * Writes the chunks of one import, one after another, and waits where waiting helps.
 *
 * Duty: checking against the active version, the tenant's quota, the disk guard, retries, the compare-and-set of the place. Non-duty: reading the body.
 * Invariants:
 *  1. A quota or a full disk holds the import up and never fails it: the chunk stays in memory, the sender is not read from, `waitsFor` says why.
 *  2. A database that goes away is waited for `DATABASE_PATIENCE_MS`; what had been committed when its answer was lost is found, never written again.
 *  3. An import that gets nothing but rejected lines is stopped: it is the wrong file, or the wrong format.
 */
import { OneDataError } from "@onedata/core";
import type { StreamItem } from "@onedata/formats";
import { sleep } from "@onedata/mesh";
import { type CaptureEvent, captureImportChunk, isConnectionLost, readSettledImport, sqlStateOf, touchImport } from "@onedata/store";
import { type Prepared, prepareChunk } from "./prepare-chunk.ts";
import type { ReceiveOptions } from "./receive-options.ts";
import type { Place } from "./source-prefix.ts";

/** More rejected lines than this are counted only. */
export const MAX_KEPT_REJECTS = 10_000;
/** So many rejected lines and not one accepted: the rest will not be better. */
export const MAX_REJECTED_ONLY = 100_000;
const DATABASE_PATIENCE_MS = 300_000;
const MAX_TRIES = 5;
const LONGEST_PAUSE_MS = 2_000;
/** A wait that is shorter is not worth a statement. */
const SAY_AFTER_MS = 1_000;

export type Chunk = { readonly items: StreamItem[]; bytes: number; byteEnd: number };

export interface Committer {
  readonly isIdle: boolean;
  /** Why nothing is being written just now. */
  readonly waitsFor: string | undefined;
  /** Waits for the commit before it, starts this one, and does not wait for it. Throws what an earlier one failed with. */
  commit(chunk: Chunk, last?: boolean): Promise<void>;
  settle(): Promise<void>;
}

export function createCommitter(options: ReceiveOptions): Committer {
  const { store, pipelines, quotas, disk, prefix, importId, committed, signal } = options;
  let pipeline = options.pipeline;
  let accepted = options.acceptedBefore;
  let rejected = options.rejectedBefore;
  let first = true;
  let open: Promise<void> = Promise.resolve();
  let pendingCount = 0;
  let failure: { readonly error: unknown } | undefined;
  let waitsFor: string | undefined;
  /** Where the last commit ended: what this uploader believes the row says. */
  let at: Place = prefix.place;

  async function write(chunk: Chunk, last: boolean): Promise<void> {
    if (first) await patiently(() => options.beforeFirstCommit());
    first = false;
    const most = quotas.importSlice(pipeline.tenantId);
    let from = 0;
    do {
      const isRest = chunk.items.length - from <= most;
      const items = isRest && from === 0 ? chunk.items : chunk.items.slice(from, from + most);
      await writeSlice(items, isRest ? chunk.byteEnd : (items.at(-1)?.byteEnd ?? chunk.byteEnd), last && isRest);
      from += items.length;
    } while (from < chunk.items.length);
  }

  async function writeSlice(items: readonly StreamItem[], byteEnd: number, last: boolean): Promise<void> {
    const from = at;
    const to = prefix.advance(byteEnd);
    let prepared = await prepareChunk(items, pipeline);
    await wait("the tenant's quota", () => quotas.whenAdmitted(pipeline.tenantId, prepared.events.length, prepared.bytes, signal));
    let lost = false;
    await patiently(async () => {
      for (let attempt = 1; ; attempt++) {
        await wait("the installation's storage is nearly full", () => disk.whenOpen(prepared.bytes, signal));
        try {
          return await capture(prepared, { from, to, last });
        } catch (error) {
          disk.noteError(error);
          const code = error instanceof OneDataError ? error.code : undefined;
          // The COMMIT whose answer was lost had happened.
          if (code === "import.conflict" && lost && (await stands(to, last))) return;
          if (code === "capture.disk_full") attempt = 0;
          else if (code === "pipeline.conflict" && attempt < MAX_TRIES) {
            pipelines.forget(pipeline.tenantId, pipeline.name);
            pipeline = await pipelines.get(pipeline.tenantId, pipeline.name);
            prepared = await prepareChunk(items, pipeline);
          } else {
            lost ||= isConnectionLost(error);
            throw error;
          }
        }
      }
    });
    disk.noteWritten();
    at = to;
    accepted += prepared.events.length;
    rejected += prepared.rejects.length;
    if (prepared.events.length > 0) {
      quotas.captured(pipeline.pipelineId, prepared.events.length, prepared.bytes);
      committed();
    }
    if (accepted === 0 && rejected >= MAX_REJECTED_ONLY && !last) {
      throw new OneDataError(
        "import.malformed",
        `the first ${rejected} lines are all rejected, so the rest is not read: look at the rejected lines, and send it again as another import when its format or the pipeline's input schema is right`,
      );
    }
  }

  async function capture(prepared: Prepared, { from, to, last }: { from: Place; to: Place; last: boolean }): Promise<void> {
    const rejects = prepared.rejects.slice(0, Math.max(0, MAX_KEPT_REJECTS - rejected));
    await captureImportChunk(store, {
      target: {
        tenantId: pipeline.tenantId,
        pipelineId: pipeline.pipelineId,
        version: pipeline.version,
        laneClass: "bulk",
        ordered: pipeline.ordering !== undefined,
        importId,
      },
      events: withTrace(prepared.events, options.trace),
      rejects,
      unkeptRejects: prepared.rejects.length - rejects.length,
      from,
      to,
      last,
    });
  }

  /** Says what is waited for, also to people who read the import, once it takes longer. */
  async function wait(reason: string, until: () => Promise<void>): Promise<void> {
    const timer = setTimeout(() => {
      waitsFor = `receiving waits: ${reason}`;
      touchImport(store.sql, pipeline.tenantId, importId, waitsFor).catch(() => undefined);
    }, SAY_AFTER_MS);
    try {
      await until();
    } finally {
      clearTimeout(timer);
      waitsFor = undefined;
    }
  }

  async function patiently(work: () => Promise<void>): Promise<void> {
    const giveUpAt = performance.now() + DATABASE_PATIENCE_MS;
    for (let attempt = 1; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        const state = sqlStateOf(error) ?? "";
        const isAway = isConnectionLost(error) || state.startsWith("53");
        const isBusy = state === "40001" || state === "40P01" || state === "55P03";
        if (!isAway && !(isBusy && attempt < MAX_TRIES)) throw error;
        if (performance.now() > giveUpAt)
          throw new OneDataError(
            "store.unavailable",
            "the database cannot be reached; send the import again with its Idempotency-Key and it goes on where it stands",
            { cause: error, retryAfterSeconds: 5 },
          );
      }
      await sleep(Math.min(LONGEST_PAUSE_MS, 100 * 2 ** attempt), signal);
      if (signal.aborted) throw OneDataError.from(signal.reason);
    }
  }

  async function stands(place: Place, last: boolean): Promise<boolean> {
    const row = await readSettledImport(store.sql, pipeline.tenantId, importId);
    return (
      row !== undefined && row.sourceBytes === place.bytes && row.prefixHash === place.prefixHash && row.state === (last ? "received" : "receiving")
    );
  }

  return {
    get isIdle() {
      return pendingCount === 0;
    },
    get waitsFor() {
      return waitsFor;
    },
    async commit(chunk, last = false) {
      pendingCount += 1;
      const before = open;
      let done = (): void => undefined;
      open = new Promise((resolve) => (done = resolve));
      await before;
      if (failure !== undefined) {
        pendingCount -= 1;
        done();
        throw failure.error;
      }
      write(chunk, last)
        .catch((error: unknown) => (failure = { error }))
        .finally(() => {
          pendingCount -= 1;
          done();
        });
    },
    async settle() {
      await open;
      if (failure !== undefined) throw failure.error;
    },
  };
}

function withTrace(events: readonly CaptureEvent[], trace: Uint8Array | undefined): readonly CaptureEvent[] {
  const [first, ...others] = trace === undefined ? [] : events;
  return first === undefined || trace === undefined ? events : [{ ...first, trace }, ...others];
}
