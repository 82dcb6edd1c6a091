/**
 * What of a claim this attempt runs; the rest goes back at once, and costs nobody anything.
 * Invariants: the two halves of a crashed run never run together; on an ordered lane nothing runs that stands behind what goes back, and no two versions run
 * together (the later one could overtake).
 */
import type { BatchId, LaneId } from "@onedata/core";
import type { ClaimedBatch, ClaimedRun } from "@onedata/store";

export type SelectedWork = { readonly batches: readonly ClaimedBatch[]; readonly apart: readonly BatchId[] };

export function selectWork({ batches }: Pick<ClaimedRun, "batches">): SelectedWork {
  const parts = new Set(batches.map(({ part }) => part));
  const isBoth = parts.has(1) && parts.has(2);
  const apart: BatchId[] = [];
  const kept: ClaimedBatch[] = [];
  /** Of ordered lanes: the version that runs, `undefined` behind what goes back. */
  const lanes = new Map<LaneId, number | undefined>();
  // Claims come in the order of `seq`.
  for (const batch of batches) {
    const { laneId, version } = batch;
    const isBehind = batch.ordered && lanes.has(laneId) && lanes.get(laneId) !== version;
    const goesBack = (isBoth && batch.part === 2) || isBehind;
    if (batch.ordered) lanes.set(laneId, goesBack ? undefined : version);
    if (goesBack) apart.push(batch.batchId);
    else kept.push(batch);
  }
  return { batches: kept, apart };
}
