/**
 * Lanes wait out a service that cannot do its work, and are freed by the first run that goes well.
 * Invariants: only lanes whose events wait for the service; nobody's failures are raised; a healthy run asks the database nothing (its claim says whether a
 * lane was blocked before, by whichever engine).
 */
import type { BatchId, LaneId, ServiceFault } from "@onedata/core";
import { blockLanes, type ClaimedBatch, type Store, unblockLanes } from "@onedata/store";
import type { EngineLog } from "./engine-log.ts";

export type BlockDeps = {
  readonly store: Store;
  /** 0 … 1, for jitter. */
  readonly random: () => number;
  readonly log: EngineLog;
};

const BACKOFF = { firstMs: 500, mostMs: 60_000 };
const MAX_REASON = 500;

/** Exponential backoff with jitter, from half a second to a minute, as long as the service is down. */
export async function blockHeld(
  batches: readonly ClaimedBatch[],
  faults: ReadonlyMap<BatchId, ServiceFault>,
  { store, random, log }: BlockDeps,
): Promise<void> {
  const lanesByReason = new Map<string, Set<LaneId>>();
  for (const { batchId, laneId } of batches) {
    const fault = faults.get(batchId);
    if (fault?.effect !== "block") continue;
    const reason = `${fault.message} (${fault.code})`.slice(0, MAX_REASON);
    lanesByReason.set(reason, (lanesByReason.get(reason) ?? new Set()).add(laneId));
  }
  for (const [reason, laneIds] of lanesByReason) {
    const failures = await blockLanes(store, { laneIds: [...laneIds] }, { backoff: BACKOFF, jitter: 0.75 + random() / 2, reason });
    log.warn("a service cannot do its work; its lanes wait", { reason, lanes: laneIds.size, failures });
  }
}

/** Lanes that were blocked when this run was claimed, and whose events found their services well. */
export async function freeLanes(batches: readonly ClaimedBatch[], faults: ReadonlyMap<BatchId, ServiceFault>, { store }: BlockDeps): Promise<void> {
  const held = new Set(batches.filter(({ batchId }) => faults.has(batchId)).map(({ laneId }) => laneId));
  const freed = new Set(batches.filter(({ laneId, blockFailures }) => blockFailures > 0 && !held.has(laneId)).map(({ laneId }) => laneId));
  if (freed.size > 0) await unblockLanes(store, { laneIds: [...freed] });
}
