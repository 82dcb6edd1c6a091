/**
 * Performs one claimed run: load, execute, complete; or give back what a service fault holds.
 * Invariants: never rejects, a run that fails unexpectedly is released with a pause; nothing is written for batches that the fence refuses; a service
 * fault blocks the run's lanes, raises nobody's failures, and names the service.
 */
import { executeRun, type LaneId, OneDataError, type RunDeps, type ServiceFault } from "@onedata/core";
import {
  blockLanes,
  type ClaimedRun,
  type CompletedBatch,
  completeRun,
  loadEvents,
  releaseRun,
  type Store,
  touchRun,
  unblockLanes,
} from "@onedata/store";
import { toRunOutcome } from "./completion.ts";
import type { PlanCache } from "./plan-cache.ts";
import { type PlacedGroup, toRunGroups } from "./run-groups.ts";
import type { WokenBy } from "./scheduler.ts";
import type { ServiceCalls } from "./service-calls.ts";

export type PerformDeps = {
  readonly store: Store;
  readonly plans: PlanCache;
  readonly calls: ServiceCalls;
  readonly installation: string;
  readonly incarnation: string;
  readonly deadlineMs: number;
  readonly monotonicMs: () => number;
  /** Throws when this engine's lease is no longer fresh: then nothing may be written. */
  readonly assertLease: () => void;
  readonly run: Pick<RunDeps, "evaluateWhen" | "connection" | "checkInput">;
  /** 0 … 1, for jitter. */
  readonly random: () => number;
  /** Told of every batch that was completed. */
  readonly completed: (batch: CompletedBatch) => void;
  readonly log: EngineLog;
  readonly signal: AbortSignal;
};

export interface EngineLog {
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

const UNEXPECTED_PAUSE_MS = 2_000;

export async function performRun(run: ClaimedRun, wokenBy: WokenBy, deps: PerformDeps): Promise<void> {
  try {
    await perform(run, wokenBy, deps);
  } catch (error) {
    deps.log.error("run failed; its batches go back", { runId: run.runId, route: run.route, error });
    await release(run, deps, UNEXPECTED_PAUSE_MS);
  }
}

async function perform(run: ClaimedRun, wokenBy: WokenBy, deps: PerformDeps): Promise<void> {
  const startedMs = deps.monotonicMs();
  const [plans, events] = await Promise.all([deps.plans.load(run.batches), loadEvents(deps.store, run.batches)]);
  const placed = toRunGroups(run.batches, events, plans);
  const { groups, timings } = await execute(run, placed, deps);
  const { completed, untouched, faults } = toRunOutcome(placed, groups);
  deps.assertLease();
  if (faults.size > 0) await blockHeld(run, faults, deps);
  if (completed.length > 0) {
    const kept = await completeRun(deps.store, {
      runId: run.runId,
      engine: deps.incarnation,
      wokenBy,
      durationMs: deps.monotonicMs() - startedMs,
      steps: timings,
      batches: completed,
    });
    for (const batch of completed) if (kept.has(batch.batchId)) deps.completed(batch);
    if (kept.size < completed.length)
      deps.log.warn("another engine holds what this run had", { runId: run.runId, lost: completed.length - kept.size });
  }
  // Batches whose events or version are gone have no tally: they go back too, for the sweeper to judge.
  const unplaced = run.batches.length - completed.length - untouched.length;
  if (untouched.length > 0 || unplaced > 0) await releaseRun(deps.store, { runId: run.runId, delayMs: unplaced > 0 ? UNEXPECTED_PAUSE_MS : 0 });
  await recover(run, faults, deps);
}

async function execute(run: ClaimedRun, placed: readonly PlacedGroup[], deps: PerformDeps): ReturnType<typeof executeRun> {
  let touchedMs = deps.monotonicMs();
  const services = deps.calls.forRun({
    signal: deps.signal,
    beforeWrite: deps.assertLease,
    afterCall: () => {
      // Quick runs end before they need it.
      if (deps.monotonicMs() - touchedMs < deps.deadlineMs / 4) return;
      touchedMs = deps.monotonicMs();
      touchRun(deps.store, run.runId, deps.deadlineMs).catch((error: unknown) =>
        deps.log.warn("could not move the run's deadline", { runId: run.runId, error }),
      );
    },
  });
  return executeRun(
    placed.map(({ group }) => group),
    { services, runId: run.runId, installation: deps.installation, monotonicMs: deps.monotonicMs, ...deps.run },
  );
}

/** Lanes that this process has blocked: a good run frees them at once, and asks the database only then. */
const blockedLanes = new WeakMap<Store, Set<LaneId>>();

/** Exponential backoff with jitter, from half a second to a minute, as long as the service is down. Only lanes whose events wait for it. */
async function blockHeld(run: ClaimedRun, faults: ReadonlyMap<bigint, ServiceFault>, deps: PerformDeps): Promise<void> {
  const known = blockedLanes.get(deps.store) ?? new Set();
  blockedLanes.set(deps.store, known);
  const lanesByReason = new Map<string, Set<LaneId>>();
  for (const { batchId, laneId } of run.batches) {
    const fault = faults.get(batchId);
    if (fault === undefined) continue;
    const reason = `${fault.message} (${fault.code})`.slice(0, 500);
    lanesByReason.set(reason, (lanesByReason.get(reason) ?? new Set()).add(laneId));
    known.add(laneId);
  }
  for (const [reason, laneIds] of lanesByReason) {
    const failures = await blockLanes(deps.store, { laneIds: [...laneIds] }, { backoff: BLOCK_BACKOFF, jitter: 0.75 + deps.random() / 2, reason });
    deps.log.warn("a service cannot do its work; its lanes wait", { reason, lanes: laneIds.size, failures });
  }
}

const BLOCK_BACKOFF = { firstMs: 500, mostMs: 60_000 };

async function recover(run: ClaimedRun, faults: ReadonlyMap<bigint, ServiceFault>, deps: PerformDeps): Promise<void> {
  const known = blockedLanes.get(deps.store);
  if (known === undefined || known.size === 0) return;
  const freed = new Set(run.batches.filter(({ batchId, laneId }) => known.has(laneId) && !faults.has(batchId)).map(({ laneId }) => laneId));
  if (freed.size === 0) return;
  for (const laneId of freed) known.delete(laneId);
  await unblockLanes(deps.store, { laneIds: [...freed] });
}

async function release(run: ClaimedRun, deps: PerformDeps, delayMs: number): Promise<void> {
  try {
    await releaseRun(deps.store, { runId: run.runId, delayMs });
  } catch (error) {
    // The lease runs out and another engine takes over.
    deps.log.error("could not give a run back; its lease will run out", { runId: run.runId, error: OneDataError.from(error) });
  }
}
