/**
 * From what the executor found to what the store completes: verdict bytes per ordinal, dead letters, outputs, and what is left of each batch.
 * Pure; the fence decides later which batches it is written for.
 */
import { type EventResult, fingerprintOf, type GroupResult, PENDING, type ServiceFault, toVerdictByte } from "@onedata/core";
import type { ClaimedBatch, CompletedBatch, DeadLetterInput, OutputInput, Progress } from "@onedata/store";
import type { PlacedGroup } from "./run-groups.ts";

export type RunOutcome = {
  /** Batches with at least one verdict, or with progress to keep. */
  readonly completed: readonly CompletedBatch[];
  /** Why batches wait for a service, by batch. */
  readonly faults: ReadonlyMap<bigint, ServiceFault>;
  /** Batches that are as if they had not been tried. */
  readonly untouched: readonly ClaimedBatch[];
};

type BatchTally = {
  readonly batch: ClaimedBatch;
  readonly verdicts: Uint8Array;
  readonly counts: { delivered: number; filtered: number; dead: number };
  readonly left: Progress[number][];
  readonly deadLetters: DeadLetterInput[];
  readonly outputs: Map<number, { ordinals: number[]; payloads: string[] }>;
  bytesLeft: number;
  delayMs: number;
  changed: boolean;
  fault: ServiceFault | undefined;
};

const decoder = new TextDecoder();

export function toRunOutcome(placed: readonly PlacedGroup[], results: readonly GroupResult[]): RunOutcome {
  const tallies = new Map<bigint, BatchTally>();
  for (const [g, { group, places }] of placed.entries()) {
    const result = results[g];
    if (result === undefined) continue;
    const highest = new Map<bigint, number>();
    for (const { batch, n } of places) highest.set(batch.batchId, Math.max(highest.get(batch.batchId) ?? 0, n));
    for (const [e, { batch, n }] of places.entries()) {
      let tally = tallies.get(batch.batchId);
      if (tally === undefined) {
        tally = openTally(batch, (highest.get(batch.batchId) ?? 0) + 1);
        tallies.set(batch.batchId, tally);
      }
      const event = result.events[e];
      if (event !== undefined) settle(tally, n, event, group.events[e]?.json.length ?? 0);
    }
    for (const output of result.outputs) {
      const place = places[output.event];
      const tally = place === undefined ? undefined : tallies.get(place.batch.batchId);
      if (place === undefined || tally === undefined) continue;
      let own = tally.outputs.get(output.sink);
      if (own === undefined) {
        own = { ordinals: [], payloads: [] };
        tally.outputs.set(output.sink, own);
      }
      own.ordinals.push(place.n);
      own.payloads.push(decoder.decode(output.json));
    }
  }
  const all = [...tallies.values()];
  const faults = new Map(all.flatMap((t) => (t.fault === undefined ? [] : [[t.batch.batchId, t.fault] as const])));
  return { faults, completed: all.filter((t) => t.changed).map(toCompletedBatch), untouched: all.filter((t) => !t.changed).map((t) => t.batch) };
}

function openTally(batch: ClaimedBatch, size: number): BatchTally {
  return {
    batch,
    verdicts: new Uint8Array(size).fill(PENDING),
    counts: { delivered: 0, filtered: 0, dead: 0 },
    left: [],
    deadLetters: [],
    outputs: new Map(),
    bytesLeft: 0,
    delayMs: 0,
    changed: false,
    fault: undefined,
  };
}

function settle(tally: BatchTally, n: number, event: EventResult, bytes: number): void {
  if (event.kind === "pending") {
    tally.left.push({ n, tries: event.tries, sinksDone: event.sinksDone });
    tally.bytesLeft += bytes;
    tally.fault ??= event.fault;
    const before = tally.batch.progress?.find((entry) => entry.n === n);
    const moved = event.tries > (before?.tries ?? 0) || event.sinksDone.length > (before?.sinksDone.length ?? 0);
    if (moved) {
      tally.changed = true;
      tally.delayMs = tally.delayMs === 0 ? event.retryAfterMs : Math.min(tally.delayMs, event.retryAfterMs);
    }
    return;
  }
  tally.changed = true;
  tally.verdicts[n] = toVerdictByte(event);
  tally.counts[event.kind]++;
  if (event.kind !== "dead") return;
  for (const { step, sink, code, message, json } of event.causes) {
    const where = sink === "" ? step : sink;
    tally.deadLetters.push({
      n,
      step,
      sink: sink === "" ? undefined : sink,
      code,
      message,
      fingerprint: fingerprintOf({ step: where, code, message }),
      payload: decoder.decode(json),
    });
  }
}

function toCompletedBatch(tally: BatchTally): CompletedBatch {
  const { batch, verdicts, counts, left, deadLetters, bytesLeft, delayMs } = tally;
  const outputs = [...tally.outputs].map(([sink, { ordinals, payloads }]): OutputInput => ({ sink, ordinals, payloads }));
  return {
    batchId: batch.batchId,
    attempt: batch.attempt,
    tenantId: batch.tenantId,
    pipelineId: batch.pipelineId,
    version: batch.version,
    generation: batch.generation,
    importId: batch.importId,
    orderedLaneId: batch.ordered ? batch.laneId : undefined,
    verdicts,
    counts,
    left: left.length === 0 ? undefined : { progress: left, bytes: bytesLeft, delayMs },
    deadLetters,
    outputs,
  };
}
