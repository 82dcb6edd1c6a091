/**
 * Collects ended spans and exports them in batches. Own, because the SDK's tells nobody what it dropped and may take half a minute to end.
 * Invariants: ending a span costs a push; the queue is bounded, and what comes when it is full is dropped; one export is in flight at a time; a batch that the
 * receiver does not take (after the exporter's retries) is dropped; `shutdown` ends within `timeoutMs` and never rejects.
 */
import type { ReadableSpan, SpanExporter, SpanProcessor } from "@opentelemetry/sdk-trace";
import type { TelemetryFigures, TelemetryLimits } from "./port.ts";

export type BatchOptions = TelemetryLimits & { readonly onDropped?: ((figures: TelemetryFigures) => void) | undefined };

export interface BatchProcessor extends SpanProcessor {
  readonly figures: TelemetryFigures;
}

const SAY_EVERY_MS = 60_000;
/** `ExportResultCode.SUCCESS` of the SDK. */
const SUCCESS = 0;

export function createBatchProcessor(exporter: SpanExporter, { maxQueue, maxBatch, delayMs, timeoutMs, onDropped }: BatchOptions): BatchProcessor {
  let queue: ReadableSpan[] = [];
  let timer: NodeJS.Timeout | undefined;
  let isHurried = false;
  let exporting: Promise<void> | undefined;
  let ended = false;
  let exported = 0;
  let dropped = 0;
  let saidAtMs = Number.NEGATIVE_INFINITY;
  let shutDown: Promise<void> | undefined;

  const drop = (spans: number): void => {
    dropped += spans;
    if (onDropped === undefined || performance.now() - saidAtMs < SAY_EVERY_MS) return;
    saidAtMs = performance.now();
    onDropped({ exported, dropped });
  };

  function exportBatch(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    const batch = queue.length <= maxBatch ? queue : queue.slice(0, maxBatch);
    queue = batch === queue ? [] : queue.slice(maxBatch);
    return new Promise((resolve) => {
      const finish = (isTaken: boolean): void => {
        if (isTaken) exported += batch.length;
        else drop(batch.length);
        resolve();
      };
      try {
        exporter.export(batch, ({ code }) => finish(code === SUCCESS));
      } catch {
        finish(false);
      }
    });
  }

  function start(): void {
    exporting = exportBatch().finally(() => {
      exporting = undefined;
      if (!ended) schedule();
    });
  }

  /** A turn later at the earliest, so that serialising is not part of the work that ended the span. */
  function schedule(): void {
    const isFull = queue.length >= maxBatch;
    if (exporting !== undefined || queue.length === 0 || (timer !== undefined && (!isFull || isHurried))) return;
    clearTimeout(timer);
    isHurried = isFull;
    timer = setTimeout(start, isFull ? 0 : delayMs).unref();
  }

  async function drain(): Promise<void> {
    await exporting;
    while (queue.length > 0) await exportBatch();
  }

  async function end(): Promise<void> {
    ended = true;
    clearTimeout(timer);
    let late: NodeJS.Timeout | undefined;
    const deadline = new Promise<"late">((resolve) => {
      late = setTimeout(() => resolve("late"), timeoutMs);
    });
    const outcome = await Promise.race([drain(), deadline]);
    clearTimeout(late);
    if (outcome !== "late") return;
    const left = queue.length;
    queue = [];
    if (left > 0) drop(left);
  }

  return {
    onStart: () => undefined,
    onEnd(span) {
      if (ended || queue.length >= maxQueue) return drop(1);
      queue.push(span);
      if (timer === undefined || queue.length === maxBatch) schedule();
    },
    forceFlush: drain,
    shutdown: () => (shutDown ??= end()),
    get figures() {
      return { exported, dropped };
    },
  };
}
