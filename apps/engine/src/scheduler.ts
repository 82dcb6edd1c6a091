/**
 * When to claim. Duty: one open run per route, a further one only when a full run is waiting, up to the slots; gather under load.
 * Not: what a claim takes (the store), what a run does (`perform-run.ts`).
 * Invariants: never claims right after a short claim; every started run is awaited before `run` returns.
 */
import type { Pointer } from "@onedata/broker";
import { type ClaimedRun, FULL_SHARE } from "@onedata/store";

/** What woke the claim; stored with the run. */
export type WokenBy = "broker" | "wake" | "end" | "full" | "poll";

export type ClaimRequest = {
  readonly route: string | undefined;
  readonly skipRoutes: readonly string[];
  readonly minEvents: number;
  /** Of the message that triggered this claim, if one did. */
  readonly prefer: readonly Pointer[];
};

export interface SchedulerPorts {
  claim(request: ClaimRequest): Promise<ClaimedRun | undefined>;
  /** Performs and completes the run; never rejects. */
  perform(run: ClaimedRun, wokenBy: WokenBy): Promise<void>;
  /** Monotonic milliseconds. */
  monotonicMs(): number;
}

export type SchedulerOptions = {
  /** Most runs in flight. */
  readonly slots: number;
  readonly targetEvents: number;
  /** Longest time without looking, asked before each. */
  readonly pollMs: () => number;
  /** Under load, claims are at least this far apart, so that runs fill. */
  readonly gatherMs: number;
};

/** A claim that found nothing is not repeated beside open runs before ten times what it took. */
const VAIN_CLAIM_FACTOR = 10;

type Offer = { readonly pointers: readonly Pointer[]; readonly settle: (claimed: boolean) => void };

export class Scheduler {
  readonly #ports: SchedulerPorts;
  readonly #options: SchedulerOptions;
  readonly #openRoutes = new Map<string, number>();
  readonly #running = new Set<Promise<void>>();
  /** Messages without their claim, in order. */
  readonly #offers: Offer[] = [];
  readonly #waitingForSlot = new Set<() => void>();
  /** The last claim was put off, not made. */
  #passedOver = false;
  #stopped = false;
  #nudge: ((by: WokenBy) => void) | undefined;
  #pending: WokenBy | undefined;
  #lastClaimMs = Number.NEGATIVE_INFINITY;
  /** Not before this time does a wake-up or the poll claim beside open runs. */
  #besideOpenRunsMs = Number.NEGATIVE_INFINITY;
  #lastEvents = 0;

  constructor(ports: SchedulerPorts, options: SchedulerOptions) {
    this.#ports = ports;
    this.#options = options;
  }

  /** Work may be waiting. */
  wake(): void {
    this.#signal("wake");
  }

  /** A message came: a claim that prefers its batches is due. Resolves after it; false = there will be none, the engine stops. */
  offer(pointers: readonly Pointer[]): Promise<boolean> {
    if (this.#stopped) return Promise.resolve(false);
    return new Promise((settle) => {
      this.#offers.push({ pointers, settle });
      // Not resting, it looks for offers before it rests.
      this.#nudge?.("broker");
    });
  }

  /** Resolves when a run could be started, or when aborted. */
  async whenFree(signal: AbortSignal): Promise<void> {
    while (this.#running.size >= this.#options.slots && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          signal.removeEventListener("abort", done);
          this.#waitingForSlot.delete(done);
          resolve();
        };
        this.#waitingForSlot.add(done);
        signal.addEventListener("abort", done, { once: true });
      });
    }
  }

  get openRuns(): number {
    return this.#running.size;
  }

  /** Claims and performs until aborted, then waits for the runs in flight. */
  async run(signal: AbortSignal): Promise<void> {
    const stop = (): void => this.#signal("poll");
    signal.addEventListener("abort", stop);
    try {
      for (let wokenBy: WokenBy = "poll"; !signal.aborted; ) {
        await this.#gather(signal);
        const claimed = signal.aborted ? undefined : await this.#claim(wokenBy);
        if (this.#offers.length > 0 && !this.#passedOver) {
          wokenBy = "broker";
        } else if (claimed === undefined) {
          wokenBy = await this.#rest(signal);
        } else {
          wokenBy = "full";
          // A short claim took all there was: looking again at once costs a statement and finds nothing.
          if (claimed.events < this.#options.targetEvents * FULL_SHARE) wokenBy = await this.#rest(signal);
        }
      }
    } finally {
      signal.removeEventListener("abort", stop);
      this.#stopped = true;
      for (const { settle } of this.#offers.splice(0)) settle(false);
      await Promise.allSettled(this.#running);
    }
  }

  async #claim(wokenBy: WokenBy): Promise<ClaimedRun | undefined> {
    this.#passedOver = false;
    if (this.#running.size >= this.#options.slots) {
      // The end of any of these runs looks for what the messages point at.
      for (const { settle } of this.#offers.splice(0)) settle(true);
      return undefined;
    }
    const open = [...this.#openRoutes.keys()];
    const startedMs = this.#ports.monotonicMs();
    // Beside open runs most claims find less than a full run: they may cost a tenth of a core, no more. The end of a run always looks.
    if (open.length > 0 && wokenBy !== "end" && startedMs < this.#besideOpenRunsMs) {
      this.#passedOver = true;
      // One message is enough to remember: the claim that is due takes what the others point at as well, and a backlog of messages must drain.
      for (const { settle } of this.#offers.splice(0, this.#offers.length - 1)) settle(true);
      return undefined;
    }
    this.#lastClaimMs = startedMs;
    const offer = this.#offers.shift();
    try {
      return await this.#claimFor(offer?.pointers ?? [], offer !== undefined && wokenBy === "poll" ? "broker" : wokenBy, open);
    } finally {
      offer?.settle(true);
    }
  }

  async #claimFor(prefer: readonly Pointer[], wokenBy: WokenBy, open: readonly string[]): Promise<ClaimedRun | undefined> {
    const startedMs = this.#lastClaimMs;
    const fresh = await this.#ports.claim({ route: undefined, skipRoutes: open, minEvents: 0, prefer });
    if (fresh !== undefined) return this.#start(fresh, wokenBy);
    // One slot stays free for routes that have no run: a slow service with a backlog never takes all.
    if (open.length > 0 && this.#running.size >= Math.max(2, this.#options.slots - 1)) return this.#claimedInVain(startedMs);
    for (const route of open) {
      const full = await this.#ports.claim({ route, skipRoutes: [], minEvents: Math.ceil(this.#options.targetEvents * FULL_SHARE), prefer });
      if (full !== undefined) return this.#start(full, "full");
    }
    return this.#claimedInVain(startedMs);
  }

  #claimedInVain(startedMs: number): undefined {
    const endedMs = this.#ports.monotonicMs();
    this.#besideOpenRunsMs = endedMs + VAIN_CLAIM_FACTOR * (endedMs - startedMs);
    return undefined;
  }

  #start(run: ClaimedRun, wokenBy: WokenBy): ClaimedRun {
    this.#lastEvents = run.events;
    this.#openRoutes.set(run.route, (this.#openRoutes.get(run.route) ?? 0) + 1);
    const done = this.#ports.perform(run, wokenBy).finally(() => {
      const left = (this.#openRoutes.get(run.route) ?? 1) - 1;
      if (left === 0) this.#openRoutes.delete(run.route);
      else this.#openRoutes.set(run.route, left);
      this.#running.delete(done);
      for (const free of this.#waitingForSlot) free();
      this.#signal("end");
    });
    this.#running.add(done);
    return run;
  }

  /** An idle machine waits for nothing; when claims follow each other and runs are small, the next one waits for the gap to pass. */
  async #gather(signal: AbortSignal): Promise<void> {
    const gapMs = this.#running.size === 0 && this.#lastEvents >= this.#options.targetEvents / 2 ? 0 : this.#options.gatherMs;
    const waitMs = this.#lastClaimMs + gapMs - this.#ports.monotonicMs();
    if (waitMs > 0 && !signal.aborted) await new Promise((done) => setTimeout(done, waitMs));
  }

  /** Until somebody nudges, or the poll is due. */
  #rest(signal: AbortSignal): Promise<WokenBy> {
    const pending = this.#pending;
    this.#pending = undefined;
    if (signal.aborted) return Promise.resolve("poll");
    if (pending !== undefined) return Promise.resolve(pending);
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#nudge = undefined;
        resolve("poll");
      }, this.#pollMs());
      this.#nudge = (by) => {
        clearTimeout(timer);
        this.#nudge = undefined;
        this.#pending = undefined;
        resolve(by);
      };
    });
  }

  /** A wake-up that was passed over is made good as soon as a claim is allowed again. */
  #pollMs(): number {
    const pollMs = this.#options.pollMs();
    return this.#running.size === 0 ? pollMs : Math.min(pollMs, Math.max(1, this.#besideOpenRunsMs - this.#ports.monotonicMs()));
  }

  #signal(by: WokenBy): void {
    if (this.#nudge === undefined) this.#pending ??= by;
    else this.#nudge(by);
  }
}
