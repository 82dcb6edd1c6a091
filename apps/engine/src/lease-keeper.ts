/**
 * This engine's lease: renewed on time, known to be fresh or not by this process's own clock.
 * Invariant: `assertFresh` fails before another engine may take over, so nobody writes what somebody else has claimed.
 */

import { OneDataError } from "@onedata/core";
import { sleep } from "@onedata/mesh";
import { registerEngine, removeEngine, renewLease, type Store } from "@onedata/store";
import type { EngineLog } from "./perform-run.ts";

export type LeaseOptions = {
  readonly store: Store;
  readonly incarnation: string;
  readonly name: string;
  readonly slots: number;
  readonly leaseMs: number;
  readonly monotonicMs: () => number;
  readonly log: EngineLog;
};

export class LeaseKeeper {
  readonly #options: LeaseOptions;
  #renewedMs = Number.NEGATIVE_INFINITY;
  #engines: readonly string[] = [];

  constructor(options: LeaseOptions) {
    this.#options = options;
  }

  /** Incarnations of all living engines, this one included. */
  get engines(): readonly string[] {
    return this.#engines;
  }

  /** Two thirds of the lease may have passed, no more. */
  isFresh(): boolean {
    const { monotonicMs, leaseMs } = this.#options;
    return monotonicMs() - this.#renewedMs < (leaseMs * 2) / 3;
  }

  assertFresh(): void {
    if (!this.isFresh()) throw new OneDataError("store.unavailable", "this engine could not renew its lease; it writes nothing until it can");
  }

  /** Registers, then renews until aborted, then says goodbye. A lease that ran out is registered anew: fences refuse what was claimed under it. */
  async keep(signal: AbortSignal, registered: () => void): Promise<void> {
    const { store, incarnation, leaseMs, log } = this.#options;
    while (!signal.aborted) {
      const askedMs = this.#options.monotonicMs();
      try {
        const engines = this.#engines.length === 0 ? undefined : await renewLease(store, { incarnation, leaseMs });
        if (engines === undefined) {
          await registerEngine(store, this.#options);
          this.#engines = (await renewLease(store, { incarnation, leaseMs })) ?? [];
        } else {
          this.#engines = engines;
        }
        this.#renewedMs = askedMs;
        registered();
      } catch (error) {
        log.warn("could not renew the engine's lease", { error });
      }
      await sleep(this.#renewedMs === askedMs ? leaseMs / 4 : 500, signal);
    }
  }

  async leave(): Promise<void> {
    await removeEngine(this.#options.store, this.#options.incarnation).catch((error: unknown) =>
      this.#options.log.warn("could not remove the engine's lease", { error }),
    );
  }
}
