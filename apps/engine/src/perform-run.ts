/**
 * Performs one claimed run: load, execute, complete; or give back what a fault holds.
 *
 * Invariants: never rejects, a run that fails unexpectedly is released with a pause; nothing is written for batches that the fence refuses; a service fault
 * blocks the run's lanes, raises nobody's failures, and names the service; only what was in flight when a service died counts a crash.
 */
import { type BatchId, executeRun, OneDataError, pieceSize, type RunDeps, type ServiceFault } from "@onedata/core";
import { type ClaimedRun, type CompletedBatch, completeRun, loadEvents, releaseRun, type Store, touchRun } from "@onedata/store";
import type { Tracer } from "@opentelemetry/api";
import { CRASH_PAUSE_MS, type RunOutcome, toRunOutcome } from "./completion.ts";
import type { DeathWatch } from "./death-watch.ts";
import type { EngineLog } from "./engine-log.ts";
import { blockHeld, freeLanes } from "./lane-blocks.ts";
import type { OpenRun, OpenRuns } from "./open-runs.ts";
import { type PlanCache, type PlannedVersion, versionKey } from "./plan-cache.ts";
import { type PlacedGroup, toRunGroups } from "./run-groups.ts";
import { type RunTrace, startRunTrace } from "./run-trace.ts";
import type { WokenBy } from "./scheduler.ts";
import { selectWork } from "./select-work.ts";
import type { ServiceCalls } from "./service-calls.ts";
import { assertServicesWork, buryGuilty } from "./suspects.ts";

export type PerformDeps = {
  readonly store: Store;
  readonly plans: PlanCache;
  readonly calls: ServiceCalls;
  readonly deaths: DeathWatch;
  readonly openRuns: OpenRuns;
  readonly installation: string;
  readonly deadlineMs: number;
  readonly monotonicMs: () => number;
  readonly lease: {
    /** Throws when the lease of that incarnation is no longer fresh: then nothing may be written. */
    assertFresh(incarnation: string): void;
    /** Aborted when that incarnation, or the engine, is over. */
    signalOf(incarnation: string): AbortSignal;
  };
  readonly run: Pick<RunDeps, "evaluateWhen" | "connection" | "checkInput" | "witness">;
  /** 0 … 1, for jitter. */
  readonly random: () => number;
  /** Told of every batch that was completed. */
  readonly completed: (batch: CompletedBatch) => void;
  /** Undefined: nothing is traced, and no event's trace is read. */
  readonly tracer?: Tracer | undefined;
  readonly log: EngineLog;
};

const UNEXPECTED_PAUSE_MS = 2_000;

export async function performRun(run: ClaimedRun, wokenBy: WokenBy, deps: PerformDeps): Promise<void> {
  using open = deps.openRuns.open(deps.lease.signalOf(run.owner));
  try {
    // What has hung may move again later: its writes are behind the ledger, its completion behind the fence.
    await Promise.race([perform(run, wokenBy, open, deps), open.overdue]);
  } catch (error) {
    deps.log.error("run failed; its batches go back", { runId: run.runId, route: run.route, error });
    await release(run, { crashed: open.isOverdue, delayMs: UNEXPECTED_PAUSE_MS }, deps);
  }
}

async function perform(run: ClaimedRun, wokenBy: WokenBy, open: OpenRun, deps: PerformDeps): Promise<void> {
  const startedMs = deps.monotonicMs();
  const { batches, apart } = selectWork(run);
  if (apart.length > 0) await releaseRun(deps.store, { runId: run.runId, batchIds: apart });
  const crashes = run.suspect ? (batches[0]?.failures ?? 0) : 0;
  const { tracer } = deps;
  const [plans, events] = await Promise.all([deps.plans.load(batches), loadEvents(deps.store, batches, { withTraces: tracer !== undefined })]);
  const placed = toRunGroups(batches, events, plans, Math.max(1, pieceSize(crashes)));
  using trace = tracer === undefined ? undefined : startRunTrace(tracer, { run, wokenBy, placed, events });
  const { groups, timings } = await execute(run, placed, { crashes, open, trace }, deps);
  const outcome = toRunOutcome(placed, groups);
  const { completed, faults } = outcome;
  if (faults.size > 0) await blockHeld(batches, faults, deps);
  if (completed.length > 0) {
    const kept = await completeRun(deps.store, {
      runId: run.runId,
      engine: run.owner,
      wokenBy,
      durationMs: deps.monotonicMs() - startedMs,
      steps: timings,
      batches: trace?.withTraceIds(completed) ?? completed,
    });
    trace?.end(groups, kept);
    for (const batch of completed) if (kept.has(batch.batchId)) deps.completed(batch);
    if (kept.size < completed.length)
      deps.log.warn("another engine holds what this run had", { runId: run.runId, lost: completed.length - kept.size });
    await countDeaths(run, completed, kept, plans, deps);
  } else trace?.end(groups, new Set());
  // Batches whose events or version are gone have no tally: they go back too, for the sweeper to judge.
  const unplaced = batches.length - completed.length - outcome.untouched.length;
  if (outcome.untouched.length > 0 || unplaced > 0) await giveBack(run, outcome, unplaced, deps);
  await freeLanes(batches, faults, deps);
}

async function execute(
  run: ClaimedRun,
  placed: readonly PlacedGroup[],
  { crashes, open, trace }: { readonly crashes: number; readonly open: OpenRun; readonly trace: RunTrace | undefined },
  deps: PerformDeps,
): ReturnType<typeof executeRun> {
  const { signal } = open;
  let touchedMs = deps.monotonicMs();
  let isHeld = true;
  const plain = deps.calls.forRun({
    signal,
    traceparent: trace?.traceparent,
    suspect: run.suspect,
    beforeWrite: () => {
      deps.lease.assertFresh(run.owner);
      signal.throwIfAborted();
      if (!isHeld) throw new OneDataError("aborted", "another engine has taken this run over");
    },
    afterCall: () => {
      // Quick runs end before they need it.
      if (deps.monotonicMs() - touchedMs < deps.deadlineMs / 4) return;
      touchedMs = deps.monotonicMs();
      touchRun(deps.store, run.runId, deps.deadlineMs).then(
        (held) => {
          isHeld = held > 0;
          if (isHeld) open.touch();
        },
        (error: unknown) => deps.log.warn("could not move the run's deadline", { runId: run.runId, error }),
      );
    },
  });
  const services = trace?.watch(plain) ?? plain;
  const runDeps: RunDeps = { services, runId: run.runId, installation: deps.installation, monotonicMs: deps.monotonicMs, ...deps.run };
  const buried = buryGuilty(placed, crashes, undefined);
  if (buried !== undefined) return { groups: buried, fault: undefined, timings: [] };
  const groups = placed.map(({ group }) => group);
  const fault = await assertServicesWork(groups, crashes, deps.calls, signal);
  const result = await executeRun(groups, fault === undefined ? runDeps : { ...runDeps, services: failing(services, fault) });
  return { ...result, groups: buryGuilty(placed, crashes + 1, result) ?? result.groups };
}

/** Services that are known not to work: the executor holds everything back as if it had asked them. */
const failing = (services: RunDeps["services"], fault: ServiceFault): RunDeps["services"] => ({
  ...services,
  apply: () => Promise.reject(fault.cause instanceof Error ? fault.cause : fault),
});

/** Floods are reported before this run ends: the next claim meets the pause. */
async function countDeaths(
  { batches }: ClaimedRun,
  completed: readonly CompletedBatch[],
  kept: ReadonlySet<BatchId>,
  plans: ReadonlyMap<string, PlannedVersion>,
  { deaths }: PerformDeps,
): Promise<void> {
  const claimed = new Map(batches.map((batch) => [batch.batchId, batch]));
  for (const batch of completed) {
    const own = kept.has(batch.batchId) ? claimed.get(batch.batchId) : undefined;
    if (own !== undefined) deaths.add(own, batch, plans.get(versionKey(own.pipelineId, own.version))?.plan.selfPause);
  }
  await deaths.settle();
}

async function giveBack(run: ClaimedRun, { untouched, faults, begun }: RunOutcome, unplaced: number, deps: PerformDeps): Promise<void> {
  const crashed = untouched.map(({ batchId }) => batchId).filter((batchId) => faults.get(batchId)?.effect === "crash");
  if (crashed.length > 0) {
    await releaseRun(deps.store, { runId: run.runId, batchIds: crashed, crashed: true, keepVersion: begun, delayMs: jittered(CRASH_PAUSE_MS, deps) });
    deps.log.warn("a service died with a run in flight", { runId: run.runId, batches: crashed.length, reason: [...faults.values()][0]?.message });
  }
  if (crashed.length < untouched.length || unplaced > 0)
    await releaseRun(deps.store, { runId: run.runId, keepVersion: begun, delayMs: unplaced > 0 ? UNEXPECTED_PAUSE_MS : 0 });
}

const jittered = (ms: number, { random }: PerformDeps): number => ms * (0.75 + random() / 2);

async function release(run: ClaimedRun, how: { readonly crashed: boolean; readonly delayMs: number }, deps: PerformDeps): Promise<void> {
  try {
    await releaseRun(deps.store, { runId: run.runId, ...how });
  } catch (error) {
    // The lease runs out and another engine takes over.
    deps.log.error("could not give a run back; its lease will run out", { runId: run.runId, error: OneDataError.from(error) });
  }
}
