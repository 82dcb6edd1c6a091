/**
 * The states of a run's events while it goes through its stages.
 * Invariants: a cause or a wait, once noted, stays; an event that is out (`isOut`) sends no more records into steps.
 */
import type { ServiceFault } from "./call-fault.ts";
import type { DeadCause, EventResult, RunEvent } from "./run.ts";
import { MAX_TRIES } from "./run.ts";

type EventState = {
  readonly event: RunEvent;
  readonly causes: DeadCause[];
  readonly sinksDone: Set<string>;
  filteredAt: number;
  reachedSink: boolean;
  waits: boolean;
  retryAfterMs: number;
  asksRetry: boolean;
  fault: ServiceFault | undefined;
};

export class EventStates {
  readonly #states: readonly EventState[];

  constructor(events: readonly RunEvent[]) {
    this.#states = events.map((event) => ({
      event,
      causes: [],
      sinksDone: new Set(event.progress?.sinksDone),
      filteredAt: 0,
      reachedSink: false,
      waits: false,
      retryAfterMs: 0,
      asksRetry: false,
      fault: undefined,
    }));
  }

  /** It died or waits: no further step sees its records. */
  isOut(event: number): boolean {
    const state = this.#at(event);
    return state.causes.length > 0 || state.waits;
  }

  isWaiting(event: number): boolean {
    return this.#at(event).waits;
  }

  isSinkDone(event: number, sink: string): boolean {
    return this.#at(event).sinksDone.has(sink);
  }

  die(event: number, cause: DeadCause): void {
    this.#at(event).causes.push(cause);
  }

  filter(event: number, step: number): void {
    this.#at(event).filteredAt = step;
  }

  reachSink(event: number): void {
    this.#at(event).reachedSink = true;
  }

  finishSink(event: number, sink: string): void {
    this.#at(event).sinksDone.add(sink);
  }

  /** A service is down; the event is as if it had not been tried. */
  hold(event: number, fault: ServiceFault): void {
    const state = this.#at(event);
    state.waits = true;
    state.fault ??= fault;
  }

  /** The record itself asked to be tried later: exponential backoff from one second, then it dies. */
  retryLater(event: number, cause: DeadCause, atLeastMs: number): void {
    const state = this.#at(event);
    const tries = (state.event.progress?.tries ?? 0) + 1;
    if (tries >= MAX_TRIES) {
      state.causes.push({ ...cause, message: `${cause.message} (tried ${tries} times)` });
      return;
    }
    state.waits = true;
    state.asksRetry = true;
    state.retryAfterMs = Math.max(state.retryAfterMs, atLeastMs, 1000 * 2 ** (tries - 1));
  }

  results(): EventResult[] {
    return this.#states.map((state): EventResult => {
      if (state.waits) {
        const tries = (state.event.progress?.tries ?? 0) + (state.asksRetry ? 1 : 0);
        return { kind: "pending", sinksDone: [...state.sinksDone], tries, retryAfterMs: state.retryAfterMs, fault: state.fault };
      }
      if (state.causes.length > 0) return { kind: "dead", causes: state.causes };
      return state.reachedSink ? { kind: "delivered" } : { kind: "filtered", step: state.filteredAt };
    });
  }

  #at(event: number): EventState {
    const state = this.#states[event];
    if (state === undefined) throw new RangeError(`no event ${event} in this group`);
    return state;
  }
}
