/**
 * What one Apply call may take of a thread that it shares with every other pipeline.
 * Invariants: other calls get a turn every `SLICE_MS`; a group whose records are slow gets `SLOW_BUDGET_MS` per call, its further records a retry;
 * a group without slow records is never cut, whatever its neighbours do; a call that nobody waits for any more ends.
 */
import { OneDataError } from "@onedata/core";
import type { Pace } from "@onedata/operations";

const SLICE_MS = 20;
/** One record through one step. Usual ones take microseconds. */
const SLOW_RECORD_MS = 100;
/** Of slow records, over all groups of a call; far below a step's timeout, so that the call answers and what it did is kept. */
const SLOW_BUDGET_MS = 1_000;

/** A pace for each group of one call. */
export function createCallPace(signal: AbortSignal, monotonicMs: () => number): () => Pace {
  let sliceMs = 0;
  let slowMs = 0;
  const turn = async (): Promise<boolean> => {
    sliceMs = 0;
    await new Promise((resolve) => setImmediate(resolve));
    if (signal.aborted) throw new OneDataError("aborted", "the caller gave up");
    return true;
  };
  return () => {
    let isSlow = false;
    let startedMs = 0;
    return {
      begin() {
        if (isSlow && slowMs >= SLOW_BUDGET_MS) return false;
        if (sliceMs < SLICE_MS) {
          startedMs = monotonicMs();
          return true;
        }
        return turn().then((goesOn) => {
          startedMs = monotonicMs();
          return goesOn;
        });
      },
      end() {
        const tookMs = monotonicMs() - startedMs;
        sliceMs += tookMs;
        if (tookMs < SLOW_RECORD_MS) return;
        isSlow = true;
        slowMs += tookMs;
      },
    };
  };
}
