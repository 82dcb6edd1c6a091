/**
 * From what the executor found to what the store completes: verdict bytes per ordinal, dead letters, outputs, and what is left of each batch.
 * Pure; the fence decides later which batches it is written for.
 */
import {
  type BatchId,
  type EventResult,
  type FaultEffect,
  fingerprintOf,
  type GroupResult,
  PENDING,
  type RetryCause,
  type ServiceFault,
  toVerdictByte,
} from "@onedata/core";
import type { BatchRest, ClaimedBatch, CompletedBatch, DeadLetterInput, OutputInput, Progress } from "@onedata/store";
import type { PlacedGroup } from "./run-groups.ts";

export type RunOutcome = {
  /** Batches with at least one verdict, or with progress to keep. */
  readonly completed: readonly CompletedBatch[];
  /** Why batches wait for a service, by batch; of each batch the fault with the gravest effect. */
  readonly faults: ReadonlyMap<BatchId, ServiceFault>;
  /** Batches that are as if they had not been tried: they go back. */
  readonly untouched: readonly ClaimedBatch[];
  /** Of those: a write has begun whose outcome nobody knows. */
  readonly begun: readonly BatchId[];
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
  writeBegun: boolean;
  hasRest: boolean;
};

const decoder = new TextDecoder();

export function toRunOutcome(placed: readonly PlacedGroup[], results: readonly GroupResult[]): RunOutcome {
  const tallies = new Map<BatchId, BatchTally>();
  for (const [g, { group, places, rest }] of placed.entries()) {
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
    for (const { batch, progress, bytes } of rest) {
      const tally = tallies.get(batch.batchId);
      if (tally === undefined) continue;
      tally.left.push(progress);
      tally.bytesLeft += bytes;
      tally.hasRest = true;
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
  const untouched = all.filter((t) => !t.changed);
  return {
    faults,
    completed: all.filter((t) => t.changed).map(toCompletedBatch),
    untouched: untouched.map((t) => t.batch),
    begun: untouched.filter((t) => t.writeBegun).map((t) => t.batch.batchId),
  };
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
    writeBegun: false,
    hasRest: false,
  };
}

const GRAVITY: Readonly<Record<FaultEffect, number>> = { release: 0, block: 1, crash: 2 };
const graver = (a: ServiceFault | undefined, b: ServiceFault | undefined): ServiceFault | undefined =>
  a === undefined || (b !== undefined && GRAVITY[b.effect] > GRAVITY[a.effect]) ? b : a;

function settle(tally: BatchTally, n: number, event: EventResult, bytes: number): void {
  if (event.kind === "pending") {
    const before = tally.batch.progress?.find((entry) => entry.n === n);
    const retry = event.retry === undefined ? before?.retry : toRetry(event.retry);
    tally.left.push({
      n,
      tries: event.tries,
      sinksDone: event.sinksDone,
      ...(Object.keys(event.places).length === 0 ? {} : { places: event.places }),
      ...(retry === undefined ? {} : { retry }),
    });
    tally.bytesLeft += bytes;
    tally.fault = graver(tally.fault, event.fault);
    tally.writeBegun ||= event.writeBegun;
    const moved = event.retryAfterMs > 0 || event.sinksDone.length > (before?.sinksDone.length ?? 0);
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

/** What died takes a moment to come back. */
export const CRASH_PAUSE_MS = 250;

const MAX_RETRY_MESSAGE = 200;

const toRetry = ({ step, sink, code, message, limit, alone }: RetryCause): NonNullable<Progress[number]["retry"]> => ({
  at: sink === "" ? `step ${step}` : `sink ${sink}`,
  code,
  message: message.slice(0, MAX_RETRY_MESSAGE),
  limit,
  ...(alone === undefined ? {} : { alone }),
});

function toCompletedBatch(tally: BatchTally): CompletedBatch {
  const { batch, verdicts, counts, left, deadLetters, bytesLeft } = tally;
  const standing = standingOf(tally);
  const delayMs = standing === "crashed" ? Math.max(tally.delayMs, CRASH_PAUSE_MS) : tally.delayMs;
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
    left: left.length === 0 ? undefined : { progress: left, bytes: bytesLeft, delayMs, standing, writeBegun: tally.writeBegun },
    deadLetters,
    outputs,
  };
}

/** A piece of a suspect that went well says nothing of the rest; one with the guilty record in it says that the rest is free of blame. */
function standingOf({ fault, hasRest, deadLetters }: BatchTally): NonNullable<BatchRest["standing"]> {
  if (fault?.effect === "crash") return "crashed";
  return hasRest && !deadLetters.some(({ code }) => code === "record.crashes") ? "kept" : "cleared";
}
