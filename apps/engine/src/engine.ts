/**
 * The Event Engine: claims runs, performs them, keeps its lease, and takes back what dead engines held.
 * Invariant: on abort it claims nothing more, finishes the runs in flight within the drain time, gives back the rest, and removes its lease.
 */

import { randomUUID } from "node:crypto";
import type { RunDeps } from "@onedata/core";
import { sleep } from "@onedata/mesh";
import { createEvaluateWhen } from "@onedata/operations";
import { type ClaimedRun, type CompletedBatch, createClaimer, RUN_TARGET_EVENTS, reclaim, type Store } from "@onedata/store";
import { createInputCheck } from "./input-check.ts";
import { LeaseKeeper } from "./lease-keeper.ts";
import { type EngineLog, performRun } from "./perform-run.ts";
import { createPlanCache } from "./plan-cache.ts";
import { ProcessedFigures } from "./processed-figures.ts";
import { Scheduler, type SchedulerOptions } from "./scheduler.ts";
import { createServiceCalls, type ServiceClients } from "./service-calls.ts";

export type EngineOptions = {
  readonly name?: string;
  /** Most runs in flight. */
  readonly slots?: number;
  readonly leaseMs?: number;
  /** Of a run, moved on after every finished call. */
  readonly runDeadlineMs?: number;
  readonly pollMs?: number;
  readonly gatherMs?: number;
  /** How long runs in flight may take to finish when the engine stops. */
  readonly drainMs?: number;
};

export interface EnginePorts {
  readonly store: Store;
  readonly clients: ServiceClients;
  /** Names this installation in ledgers and keys. */
  readonly installation: string;
  readonly log: EngineLog;
  readonly connection: NonNullable<RunDeps["connection"]>;
  /** Calls back whenever a commit may have brought work; returns how to stop. Without it the engine polls. */
  readonly listen?: (wake: () => void) => Promise<AsyncDisposable>;
}

export interface Engine {
  readonly incarnation: string;
  readonly openRuns: number;
  /** Until aborted. */
  run(signal: AbortSignal): Promise<void>;
}

const RECLAIM_EVERY_MS = 2_000;
const SUSPECTS_EVERY_MS = 1_000;

export function createEngine(ports: EnginePorts, options: EngineOptions = {}): Engine {
  const { store, log } = ports;
  const incarnation = randomUUID();
  const monotonicMs = (): number => performance.now();
  const slots = options.slots ?? 4;
  const deadlineMs = options.runDeadlineMs ?? 60_000;
  const lease = new LeaseKeeper({ store, incarnation, name: options.name ?? "engine", slots, leaseMs: options.leaseMs ?? 15_000, monotonicMs, log });
  const claimer = createClaimer(store);
  const calls = createServiceCalls(ports.clients, monotonicMs);
  const plans = createPlanCache(store);
  const figures = new ProcessedFigures(store, incarnation, Date.now);
  const hardStop = new AbortController();
  const schedule: SchedulerOptions = { slots, targetEvents: RUN_TARGET_EVENTS, pollMs: options.pollMs ?? 100, gatherMs: options.gatherMs ?? 10 };
  const performDeps = {
    store,
    plans,
    calls,
    installation: ports.installation,
    incarnation,
    deadlineMs,
    monotonicMs,
    log,
    assertLease: () => lease.assertFresh(),
    run: { evaluateWhen: createEvaluateWhen(), connection: ports.connection, checkInput: createInputCheck() },
    completed: (batch: CompletedBatch) => figures.add(batch),
    random: Math.random,
    signal: hardStop.signal,
  };
  const scheduler = new Scheduler(
    {
      monotonicMs,
      async claim({ route, skipRoutes, minEvents }) {
        if (!lease.isFresh()) return undefined;
        try {
          return await claimer.claim({
            runId: randomUUID(),
            owner: incarnation,
            skipRoutes,
            minEvents,
            deadlineMs,
            engines: lease.engines,
            ...(route === undefined ? {} : { route }),
          });
        } catch (error) {
          log.warn("could not claim", { error });
          await sleep(250, hardStop.signal);
          return undefined;
        }
      },
      perform: (run, wokenBy) => performRun(run, wokenBy, performDeps),
    },
    schedule,
  );

  /** Batches whose runs ended in two crashes: alone and one at a time, so that what brings an engine down takes nothing with it. */
  async function performSuspects(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      let run: ClaimedRun | undefined;
      try {
        if (lease.isFresh()) run = await claimer.claim({ runId: randomUUID(), owner: incarnation, deadlineMs, suspect: true });
      } catch (error) {
        log.warn("could not claim a suspect batch", { error });
      }
      if (run === undefined) await sleep(SUSPECTS_EVERY_MS, signal);
      else await performRun(run, "poll", performDeps);
    }
  }

  return {
    incarnation,
    get openRuns() {
      return scheduler.openRuns;
    },
    async run(signal) {
      const stopLease = new AbortController();
      let registered: () => void = () => undefined;
      const ready = new Promise<void>((resolve) => {
        registered = resolve;
      });
      const keeping = lease.keep(stopLease.signal, registered);
      signal.addEventListener("abort", () => registered(), { once: true });
      await ready;
      const listening = await ports.listen?.(() => scheduler.wake());
      const flushing = figures.flushUntil(stopLease.signal, log);
      const reclaiming = reclaimUntil(signal, ports, () => scheduler.wake());
      const suspects = performSuspects(signal);
      const drain = (): void => {
        setTimeout(() => hardStop.abort(), options.drainMs ?? 20_000).unref();
      };
      signal.addEventListener("abort", drain, { once: true });
      try {
        await scheduler.run(signal);
      } finally {
        await Promise.all([reclaiming, suspects]);
        await listening?.[Symbol.asyncDispose]();
        stopLease.abort();
        await keeping;
        await flushing;
        await lease.leave();
      }
    },
  };
}

async function reclaimUntil(signal: AbortSignal, { store, log }: EnginePorts, wake: () => void): Promise<void> {
  while (!signal.aborted) {
    try {
      const taken = await reclaim(store);
      if (taken.length > 0) {
        log.warn("took back what an engine left", { batches: taken.length, suspects: taken.filter((batch) => batch.suspect).length });
        wake();
      }
    } catch (error) {
      log.warn("could not look for abandoned runs", { error });
    }
    await sleep(RECLAIM_EVERY_MS, signal);
  }
}
