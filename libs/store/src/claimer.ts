/**
 * One engine's claims over time: what it remembers between them, per route.
 *
 * Duty: rotate the lanes looked at; know how large batches are; have a plan that fits the tables as they are now; stay quick while an old snapshot of an
 * application keeps dead queue rows alive (ADR 29): a claim that had to walk over many of them pays for a while in which claims look at some lanes only, each from a
 * place behind the dead rows: lanes that this engine took from a moment ago, and lanes that something was captured for a moment ago.
 * Invariant: memory only saves work. Every lane, and every row of it, is looked at again by the next claim that looks at everything, at most `MOST_REST_MS` later:
 * that finds what was put back, what committed long after its `seq` was drawn, and backlogs of lanes that nobody captures for.
 */
import type { LaneId } from "@onedata/core";
import { type ClaimedRun, type ClaimOptions, claimRun } from "./claim.ts";
import type { Store } from "./connection.ts";

/** Some hundred times of what walking over one costs the server (0.3 to 0.7 us), so that claims that look at everything take a hundredth of one process. */
const REST_MS_PER_DEAD_ROW = 0.05;
const MOST_REST_MS = 5_000;
/** Below it nothing is worth remembering: between two vacuums, rows that died a moment ago are in everybody's way. */
const FEW_DEAD_ROWS = 200;
const SLOW_CLAIM_MS = 25;
/**
 * A generic plan that was made while the tables were empty stays until their statistics change, a minute later at best: it took a whole core at 2,000
 * events/s over 200 lanes. So a slow claim has the next one planned anew, at most this often.
 */
const REPLAN_EVERY_MS = 5_000;
const MAX_KNOWN_LANES = 200;
/** Whoever else takes from a lane leaves dead rows behind the place that is known here: it is forgotten before they are many. */
const KNOWN_FOR_MS = 5_000;
/** Batches made since $1 milliseconds ago, by their ids, which carry the database's clock: few rows can have died since. */
const FRESH = `
  select lane_id, min(seq) as seq from onedata.batches where id > onedata.id_at(now() - make_interval(secs => $1::float8 / 1000)) group by lane_id limit 500`;
/** Longer than a gateway's commit takes: what it captured before the last look may have come into sight since. */
const COMMIT_MS = 500;
const FRESH_EVERY_MS = 50;
/** Between two vain looks at what other engines leave: each wake-up is every engine's. */
const OTHERS_EVERY_MS = 25;

type Memory = {
  lastLane: LaneId | undefined;
  eventsPerBatch: number;
  /** Per lane with recent work, most recent last: the `seq` after the last one taken, and when that was. */
  readonly lanes: Map<LaneId, { readonly from: bigint; readonly takenMs: number }>;
  lookAtAllFrom: number;
  /** Not before this time are other engines' lanes looked at. */
  othersFrom: number;
  /** The last look at everything, or at what is fresh. */
  coveredMs: number;
};

export interface Claimer {
  claim(options: Omit<ClaimOptions, "afterLane" | "eventsPerBatch" | "lanes" | "others">): Promise<ClaimedRun | undefined>;
}

export type ClaimerDeps = { readonly monotonicMs: () => number };

export function createClaimer(store: Store, deps: Partial<ClaimerDeps> = {}): Claimer {
  const { monotonicMs = () => performance.now() } = deps;
  const memories = new Map<string, Memory>();
  let deadRowsBefore: number | undefined;
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
      const lanes = startedAt < memory.lookAtAllFrom ? await likelyLanes(store, memory, startedAt) : undefined;
      if (lanes === undefined) memory.coveredMs = startedAt;
      if (lanes?.size === 0 && (options.preferLanes ?? []).length === 0) return undefined;
      const others = startedAt >= memory.othersFrom;
      const { run, lastLane, deadRows } = await claimRun(store, {
        ...options,
        others,
        afterLane: memory.lastLane,
        eventsPerBatch: memory.eventsPerBatch,
        lanes,
      });
      // Smaller than before: the count has begun anew. The first one may hold what others did on this connection.
      const before = deadRowsBefore ?? deadRows;
      const walkedOver = deadRows < before ? deadRows : deadRows - before;
      deadRowsBefore = deadRows;
      if (lanes === undefined) {
        memory.lastLane = lastLane;
        if (walkedOver > FEW_DEAD_ROWS) memory.lookAtAllFrom = monotonicMs() + Math.min(MOST_REST_MS, REST_MS_PER_DEAD_ROW * walkedOver);
      }
      await replanAfter(monotonicMs() - startedAt);
      learn(memory, run, monotonicMs());
      if (others && run === undefined) memory.othersFrom = monotonicMs() + OTHERS_EVERY_MS;
      return run;
    },
  };
}

function recall(memories: Map<string, Memory>, route: string): Memory {
  const known = memories.get(route);
  if (known !== undefined) return known;
  const memory: Memory = { lastLane: undefined, eventsPerBatch: 1, lanes: new Map(), lookAtAllFrom: 0, othersFrom: 0, coveredMs: 0 };
  memories.set(route, memory);
  return memory;
}

/** Where something may wait, each with the `seq` to look from. */
async function likelyLanes(store: Store, memory: Memory, nowMs: number): Promise<ReadonlyMap<LaneId, bigint>> {
  const likely = new Map<LaneId, bigint>();
  for (const [lane, { from, takenMs }] of memory.lanes) if (nowMs - takenMs < KNOWN_FOR_MS) likely.set(lane, from);
  if (nowMs - memory.coveredMs < FRESH_EVERY_MS) return likely;
  const sinceMs = nowMs - memory.coveredMs + COMMIT_MS;
  const fresh: readonly { lane_id: LaneId; seq: bigint }[] = await store.claim.unsafe(FRESH, [String(sinceMs)], { prepare: true });
  memory.coveredMs = nowMs;
  for (const { lane_id, seq } of fresh) {
    // The lower one, since commits of one lane need not come in order.
    const known = likely.get(lane_id);
    likely.set(lane_id, known === undefined || seq < known ? seq : known);
  }
  return likely;
}

function learn(memory: Memory, run: ClaimedRun | undefined, nowMs: number): void {
  // Half of the average: too low a guess reads some rows in vain, too high a one makes a short run.
  memory.eventsPerBatch = run === undefined ? 1 : run.events / run.batches.length / 2;
  for (const { laneId, seq } of run?.batches ?? []) {
    memory.lanes.delete(laneId);
    memory.lanes.set(laneId, { from: seq + 1n, takenMs: nowMs });
  }
  for (const laneId of memory.lanes.keys()) {
    if (memory.lanes.size <= MAX_KNOWN_LANES) break;
    memory.lanes.delete(laneId);
  }
}
