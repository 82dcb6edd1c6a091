/** What this engine has finished, per pipeline, for people to read: kept in memory, written each second. A crash loses a second of figures, never an event. */

import type { PipelineId } from "@onedata/core";
import { sleep } from "@onedata/mesh";
import { addProcessed, type CompletedBatch, type PipelineCounts, type Store } from "@onedata/store";
import type { EngineLog } from "./engine-log.ts";

const FLUSH_EVERY_MS = 1_000;

export class ProcessedFigures {
  readonly #store: Store;
  readonly #stripe: number;
  readonly #now: () => number;
  #counts = new Map<PipelineId, PipelineCounts>();

  /** `now`: Unix milliseconds; ids of batches carry their capture time on the same clock. */
  constructor(store: Store, incarnation: string, now: () => number) {
    this.#store = store;
    this.#stripe = Number.parseInt(incarnation.slice(0, 4), 16) % 100;
    this.#now = now;
  }

  add({ pipelineId, batchId, counts }: CompletedBatch): void {
    const known = this.#counts.get(pipelineId) ?? { pipelineId, delivered: 0, filtered: 0, dead: 0, latencyMs: 0 };
    const events = counts.delivered + counts.filtered + counts.dead;
    const waitedMs = Math.max(0, this.#now() - Number(batchId >> 20n));
    this.#counts.set(pipelineId, {
      pipelineId,
      delivered: known.delivered + counts.delivered,
      filtered: known.filtered + counts.filtered,
      dead: known.dead + counts.dead,
      latencyMs: known.latencyMs + waitedMs * events,
    });
  }

  /** Until aborted, and once more after that: call it when no run is left. */
  async flushUntil(signal: AbortSignal, log: EngineLog): Promise<void> {
    for (;;) {
      await sleep(FLUSH_EVERY_MS, signal);
      const counts = [...this.#counts.values()];
      this.#counts = new Map();
      try {
        await addProcessed(this.#store, counts, this.#stripe);
      } catch (error) {
        log.warn("a second of figures is lost", { error });
      }
      if (signal.aborted) return;
    }
  }
}
