/**
 * Waiting for verdicts: one grouped poll per gateway, every 20 ms, serves everybody who waits; the completion of a run notifies nobody.
 * Invariants: no waiter, no poll; one poll at a time; bounded waiters, and a share of them per tenant: over it nobody waits and the usual answer goes out,
 * since a preference may be left unheeded (RFC 7240); a failed poll is tried again until the waiters' own deadlines.
 */
import type { TenantId } from "@onedata/core";
import type { EventState, WaitedEvent } from "@onedata/store";
import type { Log } from "../http/seam.ts";
import type { Share } from "../shares/share.ts";

export type ReadStates = (events: readonly WaitedEvent[]) => Promise<readonly EventState[]>;

export interface Waits {
  /** The last state seen when the event is done, the time is over or the signal aborts; undefined when nothing was seen. */
  wait(tenantId: TenantId, event: WaitedEvent, timeoutMs: number, signal: AbortSignal): Promise<EventState | undefined>;
}

type Waiter = {
  readonly event: WaitedEvent;
  readonly endsAt: number;
  readonly signal: AbortSignal;
  readonly done: (state: EventState | undefined) => void;
  last: EventState | undefined;
};

const POLL_MS = 20;
const MAX_PER_POLL = 1_000;

export function createWaits(read: ReadStates, share: Share, log: Log): Waits {
  let waiters: Waiter[] = [];
  let running = false;

  async function poll(): Promise<void> {
    while (waiters.length > 0) {
      const startedAt = performance.now();
      const asked = waiters.slice(0, MAX_PER_POLL);
      try {
        const states = await read(asked.map((waiter) => waiter.event));
        asked.forEach((waiter, i) => (waiter.last = states[i]));
      } catch (error) {
        log.warn("states of waiting events could not be read", { error });
      }
      const now = performance.now();
      const left: Waiter[] = [];
      const askedSet = new Set(asked);
      const later: Waiter[] = [];
      for (const waiter of waiters) {
        if (waiter.last?.state === "done" || now >= waiter.endsAt || waiter.signal.aborted) waiter.done(waiter.last);
        // Whoever was asked for goes to the end, so that more waiters than a poll takes share it.
        else (askedSet.has(waiter) ? later : left).push(waiter);
      }
      waiters = [...left, ...later];
      const soonest = Math.min(...waiters.slice(0, MAX_PER_POLL).map((waiter) => waiter.endsAt - now), POLL_MS - (now - startedAt));
      if (waiters.length > 0) await new Promise((wake) => setTimeout(wake, Math.max(1, soonest)));
    }
    running = false;
  }

  return {
    wait: (tenantId, event, timeoutMs, signal) =>
      new Promise((resolve) => {
        if (signal.aborted || !share.tryTake(tenantId, 1)) return resolve(undefined);
        const done = (state: EventState | undefined): void => {
          share.give(tenantId, 1);
          resolve(state);
        };
        waiters.push({ event, endsAt: performance.now() + timeoutMs, signal, done, last: undefined });
        if (running) return;
        running = true;
        void poll();
      }),
  };
}
