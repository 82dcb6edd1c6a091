/**
 * The smallest engine that keeps the rules: claim, part what crashed, load, sink transaction behind the ledger, completion behind the fence;
 * suspects alone and by pieces, an event that crashed alone often enough is buried. `point` is called between any two of its steps. Non-duty: runs no pipeline.
 */
import { randomUUID } from "node:crypto";
import { type BatchId, GUILTY_AFTER, type LaneId, pieceSize } from "@onedata/core";
import { type ClaimedBatch, type ClaimedRun, claimRun } from "../claim.ts";
import { type CompletedBatch, completeRun } from "../complete.ts";
import type { Store } from "../connection.ts";
import { type LoadedEvent, loadEvents } from "../events.ts";
import { claimLedger, type LedgerClaim, readLedger } from "../ledger.ts";
import { releaseRun } from "../release.ts";

/** What an event asks for. */
export type Kind = "ok" | "dead" | "filter" | "retry";

/** The installation that the ledger names. */
export const INSTALLATION = randomUUID();
/** The verdict bytes. */
export const BYTE: Record<Kind, number> = { ok: 1, retry: 1, dead: 2, filter: 16 };

/** Ends an engine where it stands. */
export class Crash extends Error {}

type Payload = { readonly kind: Kind; readonly position: number; readonly crashes?: true };
const parse = (event: LoadedEvent): Payload => JSON.parse(event.payload) as Payload;

/** One run, to its end; false when there was none. */
export async function perform(store: Store, engine: string, point: () => Promise<void>, suspect = false): Promise<boolean> {
  const runId = randomUUID();
  await point();
  const { run: claimed } = await claimRun(store, { runId, owner: engine, deadlineMs: 60_000, maxEvents: 40, suspect });
  await point();
  if (claimed === undefined) return false;
  const { run, apart } = takeApart(claimed);
  if (apart.length > 0) {
    await releaseRun(store, { runId, batchIds: apart });
    await point();
  }
  const events = await loadEvents(store, run.batches);
  await point();
  if (run.batches.some((batch) => !isGuilty(batch) && pending(batch, events).some((event) => parse(event).crashes === true))) throw new Crash();
  await writeSink(store, run, events, point);
  await point();
  await completeRun(store, {
    runId,
    engine,
    wokenBy: "test",
    durationMs: 1,
    batches: run.batches.map((batch) => toCompleted(batch, pending(batch, events), rest(batch, events))),
  });
  await point();
  return true;
}

/** The halves of what crashed together run apart; on an ordered lane nothing runs that stands behind what goes back. */
function takeApart(run: ClaimedRun): { run: ClaimedRun; apart: BatchId[] } {
  const parts = new Set(run.batches.map(({ part }) => part));
  const lanes = new Set<LaneId>();
  const apart = run.batches.filter(({ part, ordered, laneId }) => {
    const goes = (parts.has(1) && parts.has(2) && part === 2) || lanes.has(laneId);
    if (goes && ordered) lanes.add(laneId);
    return goes;
  });
  return { run: { ...run, batches: run.batches.filter((batch) => !apart.includes(batch)) }, apart: apart.map(({ batchId }) => batchId) };
}

const isGuilty = ({ failures }: ClaimedBatch): boolean => failures >= GUILTY_AFTER;
const open = (batch: ClaimedBatch, events: Map<BatchId, LoadedEvent[]>): LoadedEvent[] => {
  const left = batch.progress === undefined ? undefined : new Set(batch.progress.map(({ n }) => n));
  return (events.get(batch.batchId) ?? []).filter(({ n }) => left === undefined || left.has(n));
};
/** What this attempt runs of the batch, and what it leaves for a later one. */
const pending = (batch: ClaimedBatch, events: Map<BatchId, LoadedEvent[]>): LoadedEvent[] =>
  open(batch, events).slice(0, Math.max(1, pieceSize(batch.failures)));
const rest = (batch: ClaimedBatch, events: Map<BatchId, LoadedEvent[]>): LoadedEvent[] =>
  open(batch, events).slice(Math.max(1, pieceSize(batch.failures)));
/** A record that asks for a retry does so once. */
const waits = (batch: ClaimedBatch, event: LoadedEvent): boolean =>
  parse(event).kind === "retry" && (batch.progress?.find(({ n }) => n === event.n)?.tries ?? 0) === 0;

async function writeSink(store: Store, run: ClaimedRun, events: Map<BatchId, LoadedEvent[]>, point: () => Promise<void>): Promise<void> {
  const final = (batch: ClaimedBatch): LoadedEvent[] =>
    isGuilty(batch) ? [] : pending(batch, events).filter((event) => parse(event).kind !== "dead" && !waits(batch, event));
  let claims: readonly LedgerClaim[] = run.batches.map((batch) => ({
    batchId: batch.batchId,
    generation: batch.generation,
    sink: `${batch.pipelineId}/0`,
    ordinals: final(batch).map(({ n }) => n),
  }));
  for (let attempt = 0; attempt < 3; attempt++) {
    const wanted = claims;
    const overlaps = await store.sql
      .begin(async (transaction) => {
        await point();
        const overlapping = await claimLedger(transaction, INSTALLATION, wanted);
        await point();
        if (overlapping.length > 0) {
          await transaction`select 1`;
          throw overlapping;
        }
        // seq order over batches of a lane, ordinal order within
        for (const batch of [...run.batches].sort((a, b) => Number(a.seq - b.seq))) {
          const ordinals = new Set(wanted.find(({ batchId }) => batchId === batch.batchId)?.ordinals);
          for (const event of final(batch)) {
            const { kind, position } = parse(event);
            if (ordinals.has(event.n) && kind !== "filter")
              await transaction`insert into sink_rows (pipeline_id, key, position) values (${batch.pipelineId}, ${event.orderingKey ?? null}, ${position})`;
          }
        }
        await point();
        return undefined;
      })
      .catch((error: unknown) => {
        if (Array.isArray(error)) return error as LedgerClaim[];
        throw error;
      });
    if (overlaps === undefined) return;
    await point();
    claims = await readLedger(store.sql, INSTALLATION, claims);
  }
  throw new Error("the ledger never agreed");
}

function toCompleted(batch: ClaimedBatch, events: readonly LoadedEvent[], later: readonly LoadedEvent[]): CompletedBatch {
  if (isGuilty(batch)) return bury(batch, events, later);
  const verdicts = new Uint8Array(Math.max(...events.map(({ n }) => n), 0) + 1);
  const counts = { delivered: 0, filtered: 0, dead: 0 };
  const waiting = events.filter((event) => waits(batch, event));
  const left = [...waiting.map(({ n }) => ({ n, tries: 1, sinksDone: [] })), ...later.map(({ n }) => leftAsIs(batch, n))];
  const final = events.filter((event) => !waits(batch, event));
  for (const event of final) {
    const { kind } = parse(event);
    verdicts[event.n] = BYTE[kind];
    counts[kind === "dead" ? "dead" : kind === "filter" ? "filtered" : "delivered"] += 1;
  }
  const delivered = final.filter((event) => ["ok", "retry"].includes(parse(event).kind));
  return {
    ...batch,
    orderedLaneId: batch.ordered ? batch.laneId : undefined,
    verdicts,
    counts,
    ...(left.length === 0
      ? {}
      : { left: { progress: left, bytes: 10, delayMs: 0, standing: later.length > 0 ? ("kept" as const) : ("cleared" as const) } }),
    deadLetters: final
      .filter((event) => parse(event).kind === "dead")
      .map(({ n, payload }) => ({ n, step: "s", code: "record.invalid", fingerprint: "f", message: "m", payload })),
    outputs: [{ sink: 0, ordinals: delivered.map(({ n }) => n), payloads: delivered.map(({ payload }) => payload) }],
  };
}

const leftAsIs = (batch: ClaimedBatch, n: number): NonNullable<CompletedBatch["left"]>["progress"][number] =>
  batch.progress?.find((entry) => entry.n === n) ?? { n, tries: 0, sinksDone: [] };

/** The first event has crashed engines, alone at last; the others start anew. */
function bury(batch: ClaimedBatch, [guilty]: readonly LoadedEvent[], later: readonly LoadedEvent[]): CompletedBatch {
  if (guilty === undefined) throw new Error("nobody is guilty");
  const verdicts = new Uint8Array(guilty.n + 1);
  verdicts[guilty.n] = BYTE.dead;
  return {
    ...batch,
    orderedLaneId: batch.ordered ? batch.laneId : undefined,
    verdicts,
    counts: { delivered: 0, filtered: 0, dead: 1 },
    ...(later.length === 0 ? {} : { left: { progress: later.map(({ n }) => leftAsIs(batch, n)), bytes: 10, delayMs: 0 } }),
    deadLetters: [{ n: guilty.n, step: "s", code: "record.crashes", fingerprint: "f", message: "m", payload: guilty.payload }],
  };
}
