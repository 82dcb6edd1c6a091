/**
 * Runs records through a chain of compiled steps: parse once, every step in turn over all records, stringify once.
 * Invariants:
 *  1. Exactly one result per record, in the order given. A record with several outputs fails as a whole when one of them fails.
 *  2. A data fault is that record's result; a fault of the service (a lookup that cannot answer) rejects the whole call. A connection that cannot be used is the
 *     result `connection.unavailable`, retryable, of the records that need it: others in the call go on.
 *  3. A record that comes out as it went in keeps its text byte for byte.
 *  4. A record that gets no turn because others of its group took too long asks for a retry; see `Pace`.
 *  5. Steps run over all records before the next step begins, so an operation that fetches does it once per call. Only real promises are awaited.
 */
import { type Json, OneDataError, type Outcome } from "@onedata/core";
import { decodeUtf8, parseJson, stringifyJson } from "@onedata/formats";
import { MAX_OUTPUTS_PER_RECORD } from "./limits.ts";
import type { PreparedRecord, RecordClock, Step } from "./operation.ts";

export type InputRecord = { readonly n: number; readonly json: Uint8Array | string; readonly timeUnixMs: number };

export type RecordResult =
  | { readonly n: number; readonly kind: "outputs"; readonly outputs: readonly string[] }
  /** `step` is the index of the step after which nothing of the record was left. */
  | { readonly n: number; readonly kind: "filtered"; readonly step: number }
  /** `cause` is for the log only: unknown errors have a code, but their text never crosses a process line. */
  | {
      readonly n: number;
      readonly kind: "failed";
      readonly step: number;
      readonly code: string;
      readonly message: string;
      readonly retryable: boolean;
      readonly cause?: unknown;
      /** The record as it was at that step; absent = as it came in. */
      readonly record?: string;
    };

type Slot = {
  readonly n: number;
  readonly text: string;
  readonly input: Json;
  readonly clock: RecordClock;
  live: Json[];
  result: RecordResult | undefined;
};

/** Keeps one group's slow records from holding up what else the process has to do. */
export interface Pace {
  /** Before each record of each step. False = no time is left for this record in this call; a promise = others have their turn first. Throws when the caller gave up. */
  begin(): boolean | Promise<boolean>;
  /** After it. */
  end(): void;
}

/** Throws for faults of the service only; see `Step`. */
export async function applySteps(steps: readonly Step[], records: readonly InputRecord[], pace?: Pace): Promise<RecordResult[]> {
  const slots = records.map(openSlot);
  for (const [index, step] of steps.entries()) {
    const ready = step.prepare === undefined ? step : await prepared((records) => step.prepare?.(records) ?? Promise.resolve(step), slots, index);
    if (ready === undefined) break;
    for (const slot of slots) {
      if (slot.result !== undefined) continue;
      const turn = pace?.begin() ?? true;
      if (!(typeof turn === "boolean" ? turn : await turn)) {
        slot.result = postponed(slot.n, index);
        continue;
      }
      const pending = advance(slot, ready, index);
      if (pending !== undefined) await pending;
      pace?.end();
    }
  }
  return slots.map(toResult);
}

const postponed = (n: number, step: number): RecordResult => ({
  n,
  kind: "failed",
  step,
  code: "expression.failed",
  message: "the records before this one took so long that no time was left for it: make the steps cheaper, or the records smaller",
  retryable: true,
});

function toResult(slot: Slot): RecordResult {
  const { n, result, live, input, text } = slot;
  if (result === undefined) return { n, kind: "outputs", outputs: live.map((record) => (record === input ? text : stringifyJson(record))) };
  // A failed step leaves what it was given. Of several records that one record became, which one failed is told by the message.
  const [given] = live;
  if (result.kind !== "failed" || live.length !== 1 || given === undefined || given === input) return result;
  return { ...result, record: stringifyJson(given) };
}

function openSlot({ n, json, timeUnixMs }: InputRecord): Slot {
  try {
    const text = typeof json === "string" ? json : decodeUtf8(json);
    const input = parseJson(text);
    return { n, text, input, clock: { timeUnixMs }, live: [input], result: undefined };
  } catch (error) {
    const message = `the record is not JSON: ${error instanceof Error ? error.message : String(error)}`;
    return {
      n,
      text: "",
      input: null,
      clock: { timeUnixMs },
      live: [],
      result: { n, kind: "failed", step: 0, code: "record.parse_failed", message, retryable: false },
    };
  }
}

/** Undefined when the preparation failed for a reason that no retry mends (the lookup table is gone): then all records have failed. */
async function prepared(
  prepare: (records: readonly PreparedRecord[]) => Promise<Step>,
  slots: readonly Slot[],
  index: number,
): Promise<Step | undefined> {
  const records = liveRecords(slots);
  if (records.length === 0) return undefined;
  try {
    return await prepare(records);
  } catch (error) {
    if (!(error instanceof OneDataError)) throw error;
    for (const slot of slots) slot.result ??= toFailure(slot.n, index, error);
    return undefined;
  }
}

function liveRecords(slots: readonly Slot[]): PreparedRecord[] {
  const records: PreparedRecord[] = [];
  for (const slot of slots) if (slot.result === undefined) for (const record of slot.live) records.push({ record, clock: slot.clock });
  return records;
}

/** Synchronous as long as the step is. */
function advance(slot: Slot, step: Step, index: number): Promise<void> | undefined {
  const next: Json[] = [];
  for (let i = 0; i < slot.live.length; i++) {
    const record = slot.live[i];
    if (record === undefined) continue;
    try {
      const outcome = step.apply(record, slot.clock);
      if (outcome instanceof Promise) return advanceSlowly(slot, step, index, { first: outcome, from: i, next });
      if (!take(slot, outcome, index, next)) return undefined;
    } catch (error) {
      slot.result = toFailure(slot.n, index, error);
      return undefined;
    }
  }
  settle(slot, index, next);
  return undefined;
}

type Progress = { readonly first: Promise<Outcome>; readonly from: number; readonly next: Json[] };

async function advanceSlowly(slot: Slot, step: Step, index: number, { first, from, next }: Progress): Promise<void> {
  try {
    if (!take(slot, await first, index, next)) return;
    for (const record of slot.live.slice(from + 1)) if (!take(slot, await step.apply(record, slot.clock), index, next)) return;
  } catch (error) {
    slot.result = toFailure(slot.n, index, error);
    return;
  }
  settle(slot, index, next);
}

/** False when the record has failed. */
function take(slot: Slot, outcome: Outcome, index: number, next: Json[]): boolean {
  switch (outcome.kind) {
    case "outputs":
      for (const record of outcome.records) next.push(record);
      if (next.length <= MAX_OUTPUTS_PER_RECORD) return true;
      slot.result = {
        n: slot.n,
        kind: "failed",
        step: index,
        code: "record.too_large",
        message: `one record became more than ${MAX_OUTPUTS_PER_RECORD}: send smaller records`,
        retryable: false,
      };
      return false;
    case "filtered":
      return true;
    case "failed":
      slot.result = { n: slot.n, kind: "failed", step: index, code: outcome.code, message: outcome.message, retryable: outcome.retryable };
      return false;
  }
}

function settle(slot: Slot, index: number, next: Json[]): void {
  slot.live = next;
  if (next.length === 0) slot.result = { n: slot.n, kind: "filtered", step: index };
}

/** Rethrows what is no data fault. An unknown error is the record's: a defect that one record meets must not hold up all others. */
function toFailure(n: number, step: number, thrown: unknown): RecordResult {
  if (!(thrown instanceof OneDataError))
    return {
      n,
      kind: "failed",
      step,
      code: "internal",
      message: "the operation failed unexpectedly on this record",
      retryable: false,
      cause: thrown,
    };
  const isHeld = thrown.code === "connection.unavailable";
  if (thrown.row.retry !== "never" && !isHeld) throw thrown;
  return { n, kind: "failed", step, code: thrown.code, message: thrown.message, retryable: isHeld };
}
