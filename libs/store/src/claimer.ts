/**
 * One engine's claims over time: what it remembers between them, per route.
 *
 * Duty: rotate the lanes looked at; know how large batches are; have a plan that fits the tables as they are now; stay quick while an old snapshot of an application keeps dead queue rows alive.
 * Invariant: memory only saves work. Every lane, and every row of it, is looked at again by the next claim that looks at everything, at most
 * `FULL_SCAN_SHARE` times the cost of such a claim later.
 */
import type { LaneId } from "@onedata/core";
import { type ClaimedRun, type ClaimOptions, claimRun } from "./claim.ts";
import type { Store } from "./connection.ts";

/** A claim that takes longer may have walked over dead rows (300,000 of them cost 90 ms), or the machine is busy: so the rows are counted then. */
const SLOW_CLAIM_MS = 25;
/** Between two vacuums a busy queue has some 20,000. */
const MANY_DEAD_ROWS = 50_000;
/** Claims that look at everything get about a tenth of the time. */
const FULL_SCAN_SHARE = 10;
/**
 * A generic plan that was made while the tables were empty stays until their statistics change, a minute later at best: it took a whole core at 2,000
 * events/s over 200 lanes. So a slow claim has the next one planned anew, at most this often.
 */
const REPLAN_EVERY_MS = 5_000;
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

export type ClaimerDeps = {
  readonly monotonicMs: () => number;
  /** Of the queue, as the server's statistics have it. */
  readonly readDeadRows: () => Promise<number>;
};

export function createClaimer(store: Store, deps: Partial<ClaimerDeps> = {}): Claimer {
  const { monotonicMs = () => performance.now(), readDeadRows = () => countDeadRows(store) } = deps;
  const memories = new Map<string, Memory>();
  let replanFrom = Number.NEGATIVE_INFINITY;
  const replanAfter = async (tookMs: number): Promise<void> => {
    if (tookMs <= SLOW_CLAIM_MS || monotonicMs() < replanFrom) return;
    replanFrom = monotonicMs() + REPLAN_EVERY_MS;
    await store.claim.unsafe("discard plans");
  };
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
        if (tookMs > SLOW_CLAIM_MS && (await readDeadRows()) > MANY_DEAD_ROWS) memory.lookAtAllFrom = monotonicMs() + FULL_SCAN_SHARE * tookMs;
      }
      await replanAfter(tookMs);
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

async function countDeadRows(store: Store): Promise<number> {
  const [row] = await store.lease<{ dead: bigint }[]>`select pg_stat_get_dead_tuples('onedata.queue'::regclass) as dead`;
  return Number(row?.dead ?? 0);
}
