/**
 * Completion of a run, whole or in part: one round trip, one transaction. `complete-sql.ts` has the statement and its rules.
 *
 * Duty: pack the results of many batches; say which of them the fence let through. Non-duty: deciding verdicts, writing to other databases' sinks (that
 * comes before, behind the ledger).
 * Invariant: all batches of one ordered lane that a run holds are completed in one call, because they leave the lane together.
 */
import { type BatchId, type LaneId, OneDataError, type PipelineId, type TenantId, toBatchId } from "@onedata/core";
import type { Progress } from "./claim.ts";
import { COMPLETE } from "./complete-sql.ts";
import { type Store, withPartitions } from "./connection.ts";
import { toStorableText } from "./storable-text.ts";

export type DeadLetterInput = {
  readonly n: number;
  readonly step: string;
  readonly sink?: string | undefined;
  readonly code: string;
  readonly fingerprint: string;
  readonly message: string;
  /** JSON text of the record at that step. */
  readonly payload: string;
  readonly traceId?: Uint8Array | undefined;
};

/** The outputs of one batch for one sink that the engine stores itself, in order of their ordinals; one ordinal may come several times. */
export type OutputInput = { readonly sink: number; readonly ordinals: readonly number[]; readonly payloads: readonly string[] };

export type BatchRest = {
  readonly progress: Progress;
  readonly bytes: number;
  readonly delayMs: number;
  /** A good run clears its crashes; `kept`: a part of a suspect went well, the rest is as suspect; `crashed`: its rest was in flight when a service died. */
  readonly standing?: "cleared" | "kept" | "crashed";
  /** A write has begun whose outcome nobody knows: the version stays. So it does where a sink is done. */
  readonly writeBegun?: boolean;
};

export type CompletedBatch = {
  readonly batchId: BatchId;
  readonly attempt: number;
  readonly tenantId: TenantId;
  readonly pipelineId: PipelineId;
  readonly version: number;
  readonly generation: number;
  readonly importId?: bigint | undefined;
  /** Given for ordered lanes only: the lane to free. */
  readonly orderedLaneId?: LaneId | undefined;
  /** One byte per ordinal, 0 = not final in this attempt; `toVerdictByte` of core. */
  readonly verdicts: Uint8Array;
  readonly counts: { readonly delivered: number; readonly filtered: number; readonly dead: number };
  /** Absent: every event is final. */
  readonly left?: BatchRest | undefined;
  readonly deadLetters?: readonly DeadLetterInput[] | undefined;
  readonly outputs?: readonly OutputInput[] | undefined;
};

export type Completion = {
  readonly runId: string;
  readonly engine: string;
  readonly wokenBy: string;
  readonly durationMs: number;
  /** Timings per step, for people. */
  readonly steps?: unknown;
  readonly traceId?: Uint8Array | undefined;
  readonly batches: readonly CompletedBatch[];
};

/** Returns the ids of the batches that were still this run's; nothing was written for the others. */
export async function completeRun(store: Store, completion: Completion): Promise<ReadonlySet<BatchId>> {
  const parameters = toParameters(completion);
  const rows: readonly { ids: string | null }[] = await withPartitions(store.sql, () =>
    store.completion.unsafe(COMPLETE, parameters, { prepare: true }),
  );
  const ids = rows[0]?.ids ?? "";
  return new Set(ids === "" ? [] : ids.split(",").map((id) => toBatchId(BigInt(id))));
}

const STANDING = { cleared: 0, kept: 1, crashed: 2 } as const;

const array = (values: readonly unknown[]): string => `{${values.join(",")}}`;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");

function toParameters({ runId, engine, wokenBy, durationMs, steps, traceId, batches }: Completion): (string | null)[] {
  const lanes = [...new Set(batches.flatMap(({ orderedLaneId }) => (orderedLaneId === undefined ? [] : [orderedLaneId])))];
  const letters = batches.flatMap((batch) => (batch.deadLetters ?? []).map((letter) => toLetterRow(batch, letter)));
  const outputs = batches.flatMap((batch) =>
    (batch.outputs ?? []).filter(({ payloads }) => payloads.length > 0).map((output) => ({ batch, output })),
  );
  return [
    runId,
    engine,
    wokenBy,
    String(durationMs),
    steps === undefined ? null : JSON.stringify(steps),
    traceId === undefined ? null : hex(traceId),
    array(batches.map(({ batchId }) => batchId)),
    array(batches.map(({ counts }) => counts.delivered)),
    array(batches.map(({ counts }) => counts.filtered)),
    array(batches.map(({ counts }) => counts.dead)),
    array(batches.map(({ left }) => left?.progress.length ?? 0)),
    array(batches.map(({ left }) => left?.bytes ?? 0)),
    array(batches.map(({ left }) => Math.ceil(left?.delayMs ?? 0))),
    array(batches.map(({ left }) => (left === undefined ? "final" : "partial"))),
    batches.map(({ verdicts }) => hex(verdicts)).join(","),
    batches.map(({ left }) => (left === undefined ? "" : JSON.stringify(left.progress))).join("\u001d"),
    array(lanes),
    letters.length === 0 ? null : JSON.stringify(letters),
    array(outputs.map(({ batch }) => batch.batchId)),
    array(outputs.map(({ batch }) => batch.attempt)),
    array(outputs.map(({ output }) => output.sink)),
    array(outputs.map(({ batch }) => batch.pipelineId)),
    array(outputs.map(({ output }) => output.payloads.reduce((sum, text) => sum + text.length, 0))),
    outputs.map(({ output }) => array(output.ordinals)).join("\u001d"),
    outputs.map(({ output }) => packPayloads(output)).join("\u001d"),
    array(batches.map(({ left }) => STANDING[left?.standing ?? "cleared"])),
    array(batches.map(({ left }) => left !== undefined && (left.writeBegun === true || left.progress.some(({ sinksDone }) => sinksDone.length > 0)))),
    array(batches.map(({ version }) => version)),
  ];
}

function packPayloads({ ordinals, payloads }: OutputInput): string {
  if (ordinals.length !== payloads.length) throw new OneDataError("internal", `${payloads.length} outputs have ${ordinals.length} ordinals`);
  return payloads.join("\u001e");
}

function toLetterRow(batch: CompletedBatch, letter: DeadLetterInput): Record<string, unknown> {
  return {
    tenant_id: String(batch.tenantId),
    pipeline_id: String(batch.pipelineId),
    batch_id: String(batch.batchId),
    n: letter.n,
    generation: batch.generation,
    version: batch.version,
    step: letter.step,
    sink: letter.sink ?? null,
    code: letter.code,
    fingerprint: toStorableText(letter.fingerprint),
    message: toStorableText(letter.message).slice(0, 4000),
    payload: toStorableText(letter.payload),
    trace_id: letter.traceId === undefined ? null : hex(letter.traceId),
    import_id: batch.importId === undefined ? null : String(batch.importId),
  };
}
