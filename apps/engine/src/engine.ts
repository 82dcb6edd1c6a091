/**
 * The Event Engine: claims runs, performs them, keeps its lease, and takes back what dead engines held.
 * Invariant: on abort it claims nothing more, finishes the runs in flight within the drain time, gives back the rest, and removes its lease.
 */

import { randomUUID } from "node:crypto";
import { createSinkWitness, type RunDeps } from "@onedata/core";
import { sleep } from "@onedata/mesh";
import { createEvaluateWhen } from "@onedata/operations";
import { type ClaimedRun, type CompletedBatch, createClaimer, RUN_TARGET_EVENTS, reclaim, type Store, takeOverLanes } from "@onedata/store";
import type { Tracer } from "@opentelemetry/api";
import { DeathWatch } from "./death-watch.ts";
import type { EngineLog } from "./engine-log.ts";
import { createInputCheck } from "./input-check.ts";
import { LeaseKeeper } from "./lease-keeper.ts";
import { createOpenRuns, type OpenRuns } from "./open-runs.ts";
import { performRun } from "./perform-run.ts";
import { createPlanCache } from "./plan-cache.ts";
import { ProcessedFigures } from "./processed-figures.ts";
import { createBrokerLink, type EngineBroker } from "./relay/broker-link.ts";
import { RELAY_DEFAULTS, type RelayOptions } from "./relay/relay.ts";
import { Scheduler, type SchedulerOptions } from "./scheduler.ts";
import { createServiceCalls, type ServiceClients } from "./service-calls.ts";
import { createServiceLimit } from "./service-limit.ts";
import { createProbe } from "./service-probe.ts";

export type EngineOptions = {
  readonly name?: string;
  /** Most runs in flight. */
  readonly slots?: number;
  readonly leaseMs?: number;
  /** Of a run, moved on after every finished call. */
  readonly runDeadlineMs?: number;
  /** Without a broker, or with one that is down. */
  readonly pollMs?: number;
  /** With a broker that is up: it wakes claims, and the poll finds what it lost. */
  readonly pollBesideBrokerMs?: number;
  readonly relay?: Partial<RelayOptions>;
  readonly gatherMs?: number;
  /** Most calls in flight per service; further ones wait, at most as long as a call may take. */
  readonly callsPerService?: number;
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
  /** Wakes claims by messages; the engine's relay publishes to it. Disposed of by who opened it. */
  readonly broker?: EngineBroker | undefined;
  /** Of the engine's own spans; its clients have it too. */
  readonly tracer?: Tracer | undefined;
}

export interface Engine {
  readonly incarnation: string;
  readonly openRuns: number;
  /** `none`, `up`, or `down: ` and the reason. The engine works in each of them. */
  readonly brokerState: string;
  /** Until aborted. */
  run(signal: AbortSignal): Promise<void>;
}

const RECLAIM_EVERY_MS = 2_000;
/** Looking for abandoned runs walks over the dead rows that an old snapshot keeps (ADR 29): it gets a twentieth of the time, and never rests longer than this. */
const RECLAIM_REST_FACTOR = 20;
const RECLAIM_REST_MOST_MS = 10_000;
const SUSPECTS_EVERY_MS = 1_000;
const FLUSH_DEATHS_EVERY_MS = 1_000;
const CALL_WAIT_MS = 10_000;
const LEASE_PAUSE_MS = 100;

export function createEngine(ports: EnginePorts, options: EngineOptions = {}): Engine {
  const { store, log } = ports;
  const monotonicMs = (): number => performance.now();
  const slots = options.slots ?? 4;
  const deadlineMs = options.runDeadlineMs ?? 60_000;
  const hardStop = new AbortController();
  const lease = new LeaseKeeper({
    store,
    name: options.name ?? "engine",
    slots,
    leaseMs: options.leaseMs ?? 15_000,
    monotonicMs,
    log,
    signal: hardStop.signal,
  });
  const claimer = createClaimer(store);
  const limit = createServiceLimit({ maxCalls: options.callsPerService ?? 8, maxWaitMs: CALL_WAIT_MS });
  const calls = createServiceCalls({ clients: ports.clients, limit, probe: createProbe(), monotonicMs });
  const deaths = new DeathWatch(store, log);
  const openRuns = createOpenRuns(deadlineMs, monotonicMs);
  const plans = createPlanCache(store);
  const figures = new ProcessedFigures(store, lease.incarnation, Date.now);
  const schedule: SchedulerOptions = {
    slots,
    targetEvents: RUN_TARGET_EVENTS,
    pollMs: () => (link?.isUp === true ? (options.pollBesideBrokerMs ?? 1_000) : (options.pollMs ?? 100)),
    gatherMs: options.gatherMs ?? 10,
  };
  const performDeps = {
    store,
    plans,
    calls,
    deaths,
    openRuns,
    installation: ports.installation,
    deadlineMs,
    monotonicMs,
    log,
    lease,
    run: { witness: createSinkWitness(), evaluateWhen: createEvaluateWhen(), connection: ports.connection, checkInput: createInputCheck() },
    completed: (batch: CompletedBatch) => figures.add(batch),
    random: Math.random,
    tracer: ports.tracer,
  };
  const scheduler = new Scheduler(
    {
      monotonicMs,
      async claim({ route, skipRoutes, minEvents, prefer }) {
        if (!lease.isFresh()) return undefined;
        try {
          return await claimer.claim({
            runId: randomUUID(),
            owner: lease.incarnation,
            skipRoutes,
            minEvents,
            deadlineMs,
            engines: lease.engines,
            ...(prefer.length === 0
              ? {}
              : { prefer: prefer.map(({ batchId }) => batchId), preferLanes: [...new Set(prefer.map(({ laneId }) => laneId))] }),
            ...(route === undefined ? {} : { route }),
          });
        } catch (error) {
          log.warn("could not claim", { error });
          await sleep(250, hardStop.signal);
          return undefined;
        }
      },
      perform: (run, wokenBy) => performRun(run, wokenBy, performDeps).finally(() => setImmediate(() => link?.windowOpened())),
    },
    schedule,
  );
  const link =
    ports.broker === undefined
      ? undefined
      : createBrokerLink(
          {
            ...ports.broker,
            store,
            get incarnation() {
              return lease.incarnation;
            },
            installation: ports.installation,
            log,
            monotonicMs,
            random: Math.random,
            engines: () => lease.engines,
            slots: () => slots * Math.max(1, lease.engines.length),
            isBusy: () => scheduler.openRuns > 0,
            changed: () => scheduler.wake(),
            offer: (pointers) => scheduler.offer(pointers),
            async whenFree(signal) {
              await scheduler.whenFree(signal);
              while (!lease.isFresh() && !signal.aborted) await sleep(LEASE_PAUSE_MS, signal);
            },
          },
          { ...RELAY_DEFAULTS, targetEvents: RUN_TARGET_EVENTS, ...options.relay },
        );

  /** Batches whose runs ended in two crashes: alone and one at a time, so that what brings an engine down takes nothing with it. */
  async function performSuspects(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      let run: ClaimedRun | undefined;
      try {
        if (lease.isFresh()) run = await claimer.claim({ runId: randomUUID(), owner: lease.incarnation, deadlineMs, suspect: true });
      } catch (error) {
        log.warn("could not claim a suspect batch", { error });
      }
      if (run === undefined) await sleep(SUSPECTS_EVERY_MS, signal);
      else await performRun(run, "poll", performDeps);
    }
  }

  return {
    get incarnation() {
      return lease.incarnation;
    },
    get openRuns() {
      return scheduler.openRuns;
    },
    get brokerState() {
      return link?.state ?? "none";
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
      const listening = await ports.listen?.(() => (link?.isUp === true ? link.wake() : scheduler.wake()));
      const linking = link?.run(signal);
      const flushing = figures.flushUntil(stopLease.signal, log);
      const counting = flushDeaths(stopLease.signal, deaths, log);
      const reclaiming = reclaimUntil(signal, ports, openRuns, () => scheduler.wake());
      const suspects = performSuspects(signal);
      const drain = (): void => {
        setTimeout(() => hardStop.abort(), options.drainMs ?? 20_000).unref();
      };
      signal.addEventListener("abort", drain, { once: true });
      try {
        await scheduler.run(signal);
      } finally {
        await Promise.all([reclaiming, suspects, linking]);
        await listening?.[Symbol.asyncDispose]();
        stopLease.abort();
        await keeping;
        await Promise.all([flushing, counting]);
        await lease.leave();
      }
    },
  };
}

async function flushDeaths(signal: AbortSignal, deaths: DeathWatch, log: EngineLog): Promise<void> {
  while (!signal.aborted) {
    await sleep(FLUSH_DEATHS_EVERY_MS, signal);
    await deaths.flush().catch((error: unknown) => log.warn("could not report events that died", { error }));
  }
}

/** What dead engines held and what hangs, here or elsewhere; and ordered lanes that engines of the release before had. */
async function reclaimUntil(signal: AbortSignal, { store, log }: EnginePorts, openRuns: OpenRuns, wake: () => void): Promise<void> {
  while (!signal.aborted) {
    const hung = openRuns.giveUpOverdue();
    if (hung > 0) log.error("gave up runs that hang", { runs: hung });
    const startedMs = performance.now();
    try {
      const taken = await reclaim(store);
      if (taken.length > 0) {
        log.warn("took back what an engine left", { batches: taken.length, suspects: taken.filter((batch) => batch.suspect).length });
        wake();
      }
      if ((await takeOverLanes(store)) > 0) wake();
    } catch (error) {
      log.warn("could not look for abandoned runs", { error });
    }
    const restMs = Math.min(RECLAIM_REST_MOST_MS, RECLAIM_REST_FACTOR * (performance.now() - startedMs));
    await sleep(Math.max(RECLAIM_EVERY_MS, restMs), signal);
  }
}
