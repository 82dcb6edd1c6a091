/**
 * Receives the body of one import: reads records as they arrive, checks them, and commits them in chunks of a few thousand on the imports' own connections.
 *
 * Duty: checks per record, chunks, bounded memory, the place in the source. Non-duty: HTTP, who may, which import it is.
 * Invariants:
 *  1. One chunk is being committed while the next one fills; then reading stops (backpressure reaches the sender). Memory is two chunks and one record.
 *  2. The place moves in the transaction of the chunk, by compare-and-set: nothing doubles and nothing is missing, whatever is cut off when.
 *  3. A line that fails a check is a rejected line with its number and reason; it never fails its neighbours.
 *  4. An activation while the import runs makes the open chunk be checked again against the new version.
 */
import { OneDataError } from "@onedata/core";
import { type Splitter, type StreamItem } from "@onedata/formats";
import { captureImportChunk, isConnectionLost, readSettledImport, type Store, sqlStateOf, touchImport } from "@onedata/store";
import type { CapturePipeline, Pipelines } from "../capture/pipelines.ts";
import type { Quotas } from "../capture/quotas.ts";
import { prepareChunk } from "./prepare-chunk.ts";
import type { Place, SourcePrefix } from "./source-prefix.ts";

export type ReceiveOptions = {
  readonly store: Store;
  readonly pipelines: Pipelines;
  readonly quotas: Quotas;
  readonly committed: () => void;
  readonly importId: bigint;
  readonly pipeline: CapturePipeline;
  readonly splitter: Splitter;
  readonly prefix: SourcePrefix;
  /** Lines rejected by earlier requests of this import. */
  readonly rejectedBefore: number;
  /** Runs before the first chunk is committed. */
  readonly beforeFirstCommit: () => Promise<void>;
};

/** More rejected lines than this are counted only. */
export const MAX_KEPT_REJECTS = 10_000;
const CHUNK_RECORDS = 4_000;
const CHUNK_BYTES = 2 * 1024 * 1024;
const FLUSH_AFTER_MS = 1_000;
const TOUCH_AFTER_MS = 20_000;
const MAX_TRIES = 5;

type Chunk = { readonly items: StreamItem[]; bytes: number; byteEnd: number };

/**
 * Reads to the end. When the source or a check of the whole stream fails, what is complete is committed first and the error is thrown then:
 * `prefix.place` says how far the import came.
 */
export async function receiveImport(source: AsyncIterable<Buffer>, options: ReceiveOptions): Promise<void> {
  const { prefix, splitter } = options;
  const committer = createCommitter(options);
  let chunk = emptyChunk(prefix);
  let turnedAt = performance.now();
  let touchedAt = turnedAt;
  let failure: unknown;
  const turn = (): Chunk => {
    const full = chunk;
    chunk = emptyChunk(prefix);
    turnedAt = touchedAt = performance.now();
    return full;
  };
  const add = (items: readonly StreamItem[]): void => {
    for (const item of items) {
      chunk.items.push(item);
      chunk.bytes += item.kind === "record" ? item.text.length : item.excerpt.length;
      chunk.byteEnd = item.byteEnd;
    }
  };
  // A sender that pauses: what has arrived is committed, and the import is known to be alive.
  const timer = setInterval(() => {
    const now = performance.now();
    if (chunk.items.length > 0 && now - turnedAt > FLUSH_AFTER_MS && committer.isIdle) void committer.commit(turn()).catch(() => undefined);
    else if (now - touchedAt > TOUCH_AFTER_MS) {
      touchedAt = now;
      touchImport(options.store.sql, options.pipeline.tenantId, options.importId).catch(() => undefined);
    }
  }, FLUSH_AFTER_MS / 2);
  try {
    try {
      for await (const bytes of source) {
        prefix.append(bytes);
        add(splitter.push(bytes));
        if (chunk.items.length >= CHUNK_RECORDS || chunk.bytes >= CHUNK_BYTES) await committer.commit(turn());
      }
      add(splitter.end());
    } catch (error) {
      failure = error;
    }
    if (failure === undefined) {
      chunk.byteEnd = prefix.readBytes;
      await committer.commit(turn(), true);
    } else if (chunk.items.length > 0) await committer.commit(turn());
    await committer.settle();
  } finally {
    clearInterval(timer);
  }
  if (failure !== undefined) throw failure;
}

const emptyChunk = (prefix: SourcePrefix): Chunk => ({ items: [], bytes: 0, byteEnd: Number(prefix.place.bytes) });

interface Committer {
  readonly isIdle: boolean;
  /** Waits for the commit before it, starts this one, and does not wait for it. Throws what an earlier one failed with. */
  commit(chunk: Chunk, last?: boolean): Promise<void>;
  settle(): Promise<void>;
}

function createCommitter(options: ReceiveOptions): Committer {
  const { store, pipelines, quotas, prefix, importId, committed } = options;
  let pipeline = options.pipeline;
  let kept = options.rejectedBefore;
  let first = true;
  let open: Promise<void> = Promise.resolve();
  let pendingCount = 0;
  let failure: { readonly error: unknown } | undefined;
  /** Where the last commit ended: what this uploader believes the row says. */
  let at: Place = prefix.place;

  async function write(chunk: Chunk, last: boolean): Promise<void> {
    if (first) await options.beforeFirstCommit();
    first = false;
    const from = at;
    const to = prefix.advance(chunk.byteEnd);
    let prepared = await prepareChunk(chunk.items, pipeline);
    quotas.admit(pipeline.tenantId, 0, prepared.bytes);
    let lost = false;
    for (let attempt = 1; ; attempt++) {
      const keptNow = prepared.rejects.slice(0, Math.max(0, MAX_KEPT_REJECTS - kept));
      try {
        await captureImportChunk(store, {
          target: {
            tenantId: pipeline.tenantId,
            pipelineId: pipeline.pipelineId,
            version: pipeline.version,
            laneClass: "bulk",
            ordered: pipeline.ordering !== undefined,
            importId,
          },
          events: prepared.events,
          rejects: keptNow,
          unkeptRejects: prepared.rejects.length - keptNow.length,
          from,
          to,
          last,
        });
      } catch (error) {
        const code = error instanceof OneDataError ? error.code : undefined;
        if (code === "import.conflict" && lost && (await stands(to, last))) {
          // The COMMIT whose answer was lost had happened.
        } else if (code === "pipeline.conflict" && attempt < MAX_TRIES) {
          pipelines.forget(pipeline.tenantId, pipeline.name);
          pipeline = await pipelines.get(pipeline.tenantId, pipeline.name);
          prepared = await prepareChunk(chunk.items, pipeline);
          continue;
        } else if (code === undefined && attempt < MAX_TRIES && isWorthRetrying(error)) {
          lost ||= isConnectionLost(error);
          await new Promise((wake) => setTimeout(wake, 100 * 2 ** attempt));
          continue;
        } else if (code === undefined && isWorthRetrying(error))
          throw new OneDataError(
            "store.unavailable",
            "the database cannot be reached; send the import again with its Idempotency-Key and it goes on where it stands",
            { cause: error, retryAfterSeconds: 5 },
          );
        else throw error;
      }
      kept += keptNow.length;
      at = to;
      if (prepared.events.length > 0) {
        quotas.captured(pipeline.pipelineId, prepared.events.length, prepared.bytes);
        committed();
      }
      return;
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

function isWorthRetrying(error: unknown): boolean {
  const state = sqlStateOf(error) ?? "";
  return isConnectionLost(error) || state === "40001" || state === "40P01" || state === "55P03" || state.startsWith("53");
}
