/** From claimed batches to what the executor runs, and the way back: which event of a group is which ordinal of which batch. */
import type { RunEvent, RunGroup } from "@onedata/core";
import type { ClaimedBatch, LoadedEvent, Progress } from "@onedata/store";
import { type PlannedVersion, versionKey } from "./plan-cache.ts";

export type Place = { readonly batch: ClaimedBatch; readonly n: number };

/** An event of a suspect that this attempt leaves for a later one, as it is. */
export type LeftEvent = Place & { readonly progress: Progress[number]; readonly bytes: number };

export type PlacedGroup = { readonly group: RunGroup; readonly places: readonly Place[]; readonly rest: readonly LeftEvent[] };

/** Ids carry the capture time: milliseconds in the bits above 20. */
const toUnixNanos = (batchId: bigint): bigint => (batchId >> 20n) * 1_000_000n;

const encoder = new TextEncoder();

/**
 * One group per pipeline version; events in the order of their batches and ordinals. Batches whose version is gone are left out.
 * `most`: how many events of each batch run; the others are the group's rest.
 */
export function toRunGroups(
  batches: readonly ClaimedBatch[],
  events: ReadonlyMap<bigint, readonly LoadedEvent[]>,
  plans: ReadonlyMap<string, PlannedVersion>,
  most = Number.POSITIVE_INFINITY,
): PlacedGroup[] {
  const groups = new Map<string, { planned: PlannedVersion; batch: ClaimedBatch; events: RunEvent[]; places: Place[]; rest: LeftEvent[] }>();
  for (const batch of batches) {
    const key = versionKey(batch.pipelineId, batch.version);
    const planned = plans.get(key);
    if (planned === undefined) continue;
    let open = groups.get(key);
    if (open === undefined) {
      open = { planned, batch, events: [], places: [], rest: [] };
      groups.set(key, open);
    }
    const left = batch.progress === undefined ? undefined : new Map(batch.progress.map((entry) => [entry.n, entry]));
    let taken = 0;
    for (const event of events.get(batch.batchId) ?? []) {
      if (left !== undefined && !left.has(event.n)) continue;
      const progress = left?.get(event.n);
      taken += 1;
      if (taken > most) {
        open.rest.push({ batch, n: event.n, progress: progress ?? { n: event.n, tries: 0, sinksDone: [] }, bytes: event.payload.length });
        continue;
      }
      open.events.push(toRunEvent(batch, event, progress));
      open.places.push({ batch, n: event.n });
    }
  }
  return [...groups.values()].map(({ planned, batch, events: own, places, rest }) => ({
    group: { pipeline: planned.pipeline, version: batch.version, tenant: String(batch.tenantId), plan: planned.plan, events: own },
    places,
    rest,
  }));
}

function toRunEvent(batch: ClaimedBatch, event: LoadedEvent, progress: RunEvent["progress"]): RunEvent {
  return {
    source: { batchId: event.source.batchId, seq: event.source.seq ?? batch.seq, n: event.source.n, generation: batch.generation },
    json: encoder.encode(event.payload),
    timeUnixNanos: toUnixNanos(event.source.batchId),
    ...(batch.ordered ? { orderingKey: event.orderingKey ?? "" } : {}),
    // A copy for a replay or a backfill may meet another version than the one whose schema let its source in, or come from one that was never checked.
    ...(batch.unchecked || batch.kind !== "capture" ? { unchecked: true } : {}),
    ...(progress === undefined ? {} : { progress }),
  };
}
