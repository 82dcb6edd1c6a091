/**
 * This engine's lease: renewed on time, known to be fresh or not by this process's own clock.
 *
 * Invariants: `assertFresh` fails before another engine may take over, so nobody writes what somebody else has claimed; an incarnation whose lease ran out is
 * over: its runs are dropped, and the engine goes on as a new one that shares nothing with it.
 */

import { randomUUID } from "node:crypto";
import { setMaxListeners } from "node:events";
import { OneDataError } from "@onedata/core";
import { sleep } from "@onedata/mesh";
import { registerEngine, removeEngine, renewLease, type Store } from "@onedata/store";
import type { EngineLog } from "./engine-log.ts";

export type LeaseOptions = {
  readonly store: Store;
  readonly name: string;
  readonly slots: number;
  readonly leaseMs: number;
  readonly monotonicMs: () => number;
  readonly log: EngineLog;
  /** The engine gives up whatever is in flight. */
  readonly signal: AbortSignal;
};

/** One life of the engine, from a registration to the end of its lease. `signal` also ends with the engine. */
type Life = { readonly incarnation: string; readonly over: AbortController; readonly signal: AbortSignal };

function newLife(engine: AbortSignal): Life {
  const over = new AbortController();
  const signal = AbortSignal.any([engine, over.signal]);
  // One listener per call in flight.
  setMaxListeners(0, signal);
  return { incarnation: randomUUID(), over, signal };
}

export class LeaseKeeper {
  readonly #options: LeaseOptions;
  #life: Life;
  #renewedMs = Number.NEGATIVE_INFINITY;
  #engines: readonly string[] = [];

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#life = newLife(options.signal);
  }

  /** Who claims now. */
  get incarnation(): string {
    return this.#life.incarnation;
  }

  /** Incarnations of all living engines, this one included. */
  get engines(): readonly string[] {
    return this.#engines;
  }

  /** Aborted when this incarnation or the engine is over; already so for an earlier one. */
  signalOf(incarnation: string): AbortSignal {
    return incarnation === this.#life.incarnation ? this.#life.signal : AbortSignal.abort(lost());
  }

  /** Two thirds of the lease may have passed, no more. */
  isFresh(incarnation = this.#life.incarnation): boolean {
    const { monotonicMs, leaseMs } = this.#options;
    return incarnation === this.#life.incarnation && monotonicMs() - this.#renewedMs < (leaseMs * 2) / 3;
  }

  /** Throws `aborted`: whoever gives up for this blames nobody. */
  assertFresh(incarnation: string): void {
    if (!this.isFresh(incarnation)) throw lost();
  }

  /** Registers, then renews until aborted. */
  async keep(signal: AbortSignal, registered: () => void): Promise<void> {
    const { store, leaseMs, log } = this.#options;
    let isRegistered = false;
    while (!signal.aborted) {
      const askedMs = this.#options.monotonicMs();
      try {
        if (!isRegistered) await registerEngine(store, { ...this.#options, incarnation: this.incarnation });
        isRegistered = true;
        const engines = await renewLease(store, { incarnation: this.incarnation, leaseMs });
        if (engines === undefined) {
          log.warn("the lease ran out; its runs are dropped", { incarnation: this.incarnation });
          isRegistered = false;
          this.#beginAnew();
          continue;
        }
        this.#engines = engines;
        this.#renewedMs = askedMs;
        registered();
      } catch (error) {
        log.warn("could not renew the engine's lease", { error });
      }
      await sleep(this.#renewedMs === askedMs ? leaseMs / 4 : Math.min(500, leaseMs / 4), signal);
    }
  }

  async leave(): Promise<void> {
    await removeEngine(this.#options.store, this.incarnation).catch((error: unknown) =>
      this.#options.log.warn("could not remove the engine's lease", { error }),
    );
  }

  #beginAnew(): void {
    const before = this.#life;
    this.#life = newLife(this.#options.signal);
    this.#renewedMs = Number.NEGATIVE_INFINITY;
    this.#engines = [];
    before.over.abort(lost());
  }
}

const lost = (): OneDataError => new OneDataError("aborted", "this engine could not renew its lease in time; it writes nothing until it can");
