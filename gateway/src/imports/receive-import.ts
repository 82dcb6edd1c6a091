/**
 * Receives the body of one import: reads records as they arrive, checks them, and commits them in chunks of a few thousand on the imports' own connections.
 *
 * Duty: checks per record, chunks, bounded memory, the place in the source. Non-duty: HTTP, who may, which import it is.
 * Invariants:
 *  1. One chunk is being committed while the next one fills; then reading stops (backpressure reaches the sender). Memory is two chunks and one record.
 *  2. The place moves in the transaction of the chunk, by compare-and-set: nothing doubles and nothing is missing, whatever is cut off when.
 *  3. A line that fails a check is a rejected line with its number and reason; it never fails its neighbours.
 *  4. An activation while the import runs makes the open chunk be checked again against the new version.
 *  5. What cannot be written for a while (a quota, a full disk, a database that restarts) is waited for: reading stops, the import says why, nothing fails.
 */
import type { StreamItem } from "@onedata/formats";
import { touchImport } from "@onedata/store";
import { type Chunk, createCommitter } from "./commit-chunks.ts";
import type { ReceiveOptions } from "./receive-options.ts";
import type { SourcePrefix } from "./source-prefix.ts";

const CHUNK_RECORDS = 4_000;
const CHUNK_BYTES = 2 * 1024 * 1024;
const FLUSH_AFTER_MS = 1_000;
const TOUCH_AFTER_MS = 20_000;

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
      touchImport(options.store.sql, options.pipeline.tenantId, options.importId, committer.waitsFor).catch(() => undefined);
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
