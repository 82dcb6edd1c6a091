/**
 * One engine's claims over time: what it remembers between them, per route.
 *
 * Duty: rotate the lanes looked at; know how large batches are; stay quick while an old snapshot of an application keeps dead queue rows alive.
 * Invariant: memory only saves work. Every lane, and every row of it, is looked at again by the next claim that looks at everything, at most
 * `FULL_SCAN_SHARE` times the cost of such a claim later.
 */
import type { LaneId } from "@onedata/core";
import { type ClaimedRun, type ClaimOptions, claimRun } from "./claim.ts";
import type { Store } from "./connection.ts";

/** A claim of nothing that takes longer than this has walked over dead rows: 300,000 of them cost 90 ms, none 1 to 3 ms. */
const SLOW_CLAIM_MS = 25;
const SLOW_PER_BATCH_MS = 0.15;
/** Claims that look at everything get about a tenth of the time. */
const FULL_SCAN_SHARE = 10;
const MAX_KNOWN_LANES = 200;

type Memory = {
  lastLane: LaneId | undefined;
  eventsPerBatch: number;
  /** Per lane with recent work, most recent last: the `seq` after the last one taken. */
  readonly lanes: Map<LaneId, bigint>;
  lookAtAllFrom: number;
};

export interface Claimer {
  claim(options: Omit<ClaimOptions, "afterLane" | "eventsPerBatch" | "lanes">): Promise<ClaimedRun | undefined>;
}

export function createClaimer(store: Store, monotonicMs: () => number = () => performance.now()): Claimer {
  const memories = new Map<string, Memory>();
  return {
    async claim(options) {
      if (options.suspect === true) return (await claimRun(store, options)).run;
      const memory = recall(memories, options.route ?? "");
      const startedAt = monotonicMs();
      const lanes = startedAt < memory.lookAtAllFrom && memory.lanes.size > 0 ? new Map(memory.lanes) : undefined;
      const { run, lastLane } = await claimRun(store, { ...options, afterLane: memory.lastLane, eventsPerBatch: memory.eventsPerBatch, lanes });
      const tookMs = monotonicMs() - startedAt;
      if (lanes === undefined) {
        memory.lastLane = lastLane;
        if (tookMs > SLOW_CLAIM_MS + SLOW_PER_BATCH_MS * (run?.batches.length ?? 0)) memory.lookAtAllFrom = monotonicMs() + FULL_SCAN_SHARE * tookMs;
      }
      learn(memory, run);
      return run;
    },
  };
}

function recall(memories: Map<string, Memory>, route: string): Memory {
  const known = memories.get(route);
  if (known !== undefined) return known;
  const memory: Memory = { lastLane: undefined, eventsPerBatch: 1, lanes: new Map(), lookAtAllFrom: 0 };
  memories.set(route, memory);
  return memory;
}

function learn(memory: Memory, run: ClaimedRun | undefined): void {
  // Half of the average: too low a guess reads some rows in vain, too high a one makes a short run.
  memory.eventsPerBatch = run === undefined ? 1 : run.events / run.batches.length / 2;
  for (const { laneId, seq } of run?.batches ?? []) {
    memory.lanes.delete(laneId);
    memory.lanes.set(laneId, seq + 1n);
  }
  for (const laneId of memory.lanes.keys()) {
    if (memory.lanes.size <= MAX_KNOWN_LANES) break;
    memory.lanes.delete(laneId);
  }
}
