/** From published batches to messages. A message triggers one claim, so it carries no more than one claim takes: one route, a run's events. */
import { encodePointers, MAX_POINTERS } from "@onedata/broker";
import type { Published, PublishedBatch } from "@onedata/store";

export type PointerMessage = { readonly body: Uint8Array; readonly batches: readonly PublishedBatch[] };

export function toMessages({ routes }: Pick<Published, "routes">, maxEvents: number): readonly PointerMessage[] {
  return routes.flatMap(({ batches }) => split(batches, maxEvents).map((part) => ({ body: encodePointers(part), batches: part })));
}

function split(batches: readonly PublishedBatch[], maxEvents: number): PublishedBatch[][] {
  const parts: PublishedBatch[][] = [];
  let events = Number.POSITIVE_INFINITY;
  for (const batch of batches) {
    const last = parts.at(-1);
    if (last === undefined || last.length === MAX_POINTERS || events + batch.n > maxEvents) {
      parts.push([batch]);
      events = batch.n;
    } else {
      last.push(batch);
      events += batch.n;
    }
  }
  return parts;
}
