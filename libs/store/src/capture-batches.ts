/**
 * Packs requests of many pipelines into batches: at most 100 events and 256 KiB of one lane each. Pure.
 * Invariant: events of one lane keep the order in which they were given, within and over batches.
 */
import { OneDataError, type PipelineId, type TenantId } from "@onedata/core";
import { shardOf } from "./shard.ts";

export const MAX_BATCH_EVENTS = 100;
export const MAX_BATCH_BYTES = 256 * 1024;

export type LaneClass = "live" | "bulk";

/** What a request captures into; the version is the one whose schema was checked. */
export type CaptureTarget = {
  readonly tenantId: TenantId;
  readonly pipelineId: PipelineId;
  readonly version: number;
  readonly laneClass: LaneClass;
  readonly ordered: boolean;
  readonly importId?: bigint;
};

export type CaptureEvent = {
  /** Valid JSON text, as it was sent. */
  readonly payload: string;
  /** UTF-8 bytes of the payload, when the caller knows them. */
  readonly bytes?: number;
  /** Of a pipeline with an ordering. */
  readonly orderingKey?: string;
  /** 25 bytes: trace id, span id, flags. */
  readonly trace?: Uint8Array;
  readonly idempotencyKey?: string;
};

/** `slots[i]` says which input event stands at ordinal i. */
export type PackedBatch = {
  readonly target: CaptureTarget;
  readonly shard: number;
  readonly events: CaptureEvent[];
  readonly slots: number[];
  bytes: number;
};

/** What the capture statement puts between payloads, and what Postgres text cannot hold. */
const hasSeparator = (text: string): boolean => text.includes("\u001e") || text.includes("\u001d") || text.includes("\u0000");

export function packBatches(items: Iterable<{ readonly target: CaptureTarget; readonly event: CaptureEvent; readonly slot: number }>): PackedBatch[] {
  const open = new Map<string, PackedBatch>();
  const batches: PackedBatch[] = [];
  for (const { target, event, slot } of items) {
    if (hasSeparator(event.payload) || (event.orderingKey !== undefined && hasSeparator(event.orderingKey))) {
      throw new OneDataError(
        "capture.json_malformed",
        "the payload or its ordering key holds a raw control character (U+0000, U+001D, U+001E), which JSON does not allow",
      );
    }
    const bytes = event.bytes ?? Buffer.byteLength(event.payload);
    const shard = target.ordered ? shardOf(event.orderingKey ?? "") : 0;
    const lane = `${target.pipelineId}/${target.tenantId}/${target.version}/${target.laneClass}/${shard}/${target.importId ?? ""}`;
    let batch = open.get(lane);
    if (batch === undefined || batch.events.length === MAX_BATCH_EVENTS || batch.bytes + bytes > MAX_BATCH_BYTES) {
      batch = { target, shard, events: [], slots: [], bytes: 0 };
      open.set(lane, batch);
      batches.push(batch);
    }
    batch.events.push(event);
    batch.slots.push(slot);
    batch.bytes += bytes;
  }
  return batches;
}
