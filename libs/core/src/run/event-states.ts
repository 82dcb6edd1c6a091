/**
 * The states of a run's events while it goes through its stages.
 * Invariants: a cause or a wait, once noted, stays; an event that is out (`isOut`) sends no more records into steps; where order counts, an event waits
 * while an earlier one of its key does.
 */
import { DEFAULT_RETRIES } from "../plan/spec.ts";
import type { ServiceFault } from "./call-fault.ts";
import type { DeadCause, EventResult, PlaceTries, RetryCause, RunEvent } from "./run.ts";

type EventState = {
  readonly event: RunEvent;
  readonly causes: DeadCause[];
  readonly sinksDone: Set<string>;
  /** Of this attempt; the others stay as they were. */
  readonly places: Map<string, PlaceTries>;
  filteredAt: number;
  reachedSink: boolean;
  waits: boolean;
  retryAfterMs: number;
  retry: RetryCause | undefined;
  fault: ServiceFault | undefined;
  writeBegun: boolean;
};

export type AloneFailure = { readonly counts: number; readonly retries: number | undefined; readonly fault: ServiceFault | undefined };

const FIRST_WAIT_MS = 1_000;
/** Longer: a minute over the default's five tries, so that a receiver's short trouble with some records costs none of them. */
const FIRST_WAIT_ALONE_MS = 4_000;
const MOST_WAIT_MS = 60_000;

const backoffMs = (firstMs: number, times: number): number => Math.min(MOST_WAIT_MS, firstMs * 2 ** Math.min(times - 1, 16));

const placeOf = ({ step, sink }: Pick<DeadCause, "step" | "sink">): string => (sink === "" ? `step ${step}` : `sink ${sink}`);

/** An engine of the release before counts all places together, and names the one that asked last. */
function triesAt({ progress }: RunEvent, at: string): PlaceTries {
  return progress?.places?.[at] ?? { tries: progress?.places === undefined && progress?.retry?.at === at ? progress.tries : 0 };
}

export class EventStates {
  readonly #states: readonly EventState[];
  /** `sink key` of events that wait for a sink. */
  readonly #waitingKeys = new Set<string>();

  constructor(events: readonly RunEvent[]) {
    this.#states = events.map((event) => ({
      event,
      causes: [],
      sinksDone: new Set(event.progress?.sinksDone),
      places: new Map(),
      filteredAt: 0,
      reachedSink: false,
      waits: false,
      retryAfterMs: 0,
      retry: undefined,
      fault: undefined,
      writeBegun: false,
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
  hold(event: number, fault: ServiceFault, sink?: string): void {
    const state = this.#at(event);
    state.waits = true;
    state.fault ??= fault;
    if (sink !== undefined) this.#noteWait(state, sink);
  }

  /** An earlier event of its key waits. */
  holdBehind(event: number): void {
    this.#at(event).waits = true;
  }

  waitsForSink(orderingKey: string, sink: string): boolean {
    return this.#waitingKeys.has(`${sink} ${orderingKey}`);
  }

  #noteWait({ event: { orderingKey } }: EventState, sink: string): void {
    if (orderingKey !== undefined) this.#waitingKeys.add(`${sink} ${orderingKey}`);
  }

  /** The record itself asked to be tried later: exponential backoff from one second, then it dies. */
  retryLater(event: number, cause: DeadCause, { atLeastMs, retries = DEFAULT_RETRIES }: { atLeastMs: number; retries: number | undefined }): void {
    const state = this.#at(event);
    const at = placeOf(cause);
    const tries = triesAt(state.event, at).tries + 1;
    if (tries > retries) {
      state.causes.push({ ...cause, message: `${cause.message} (tried ${tries} ${tries === 1 ? "time" : "times"})` });
      return;
    }
    state.places.set(at, { ...triesAt(state.event, at), tries });
    this.#wait(state, { ...cause, limit: retries + 1 }, Math.max(atLeastMs, backoffMs(FIRST_WAIT_MS, tries)));
  }

  /** What counts against it in that sink, before this attempt. */
  triesBefore(event: number, sink: string): number {
    return triesAt(this.#at(event).event, `sink ${sink}`).tries;
  }

  /** How often it has failed alone in that sink, before this attempt. */
  aloneBefore(event: number, sink: string): number {
    return triesAt(this.#at(event).event, `sink ${sink}`).alone ?? 0;
  }

  /**
   * It failed alone in a sink, with an error that may be the sink's own. `counts` of its failures are held against it. A `fault` says that the sink looks down
   * for everybody: then its lane waits too.
   */
  failAlone(event: number, cause: DeadCause, { counts, retries = DEFAULT_RETRIES, fault }: AloneFailure): "waits" | "dead" {
    const state = this.#at(event);
    const at = placeOf(cause);
    const before = triesAt(state.event, at);
    const tries = before.tries + counts;
    if (tries > retries) {
      const times = tries === 1 ? "once, and after it" : `${tries} times, and meanwhile`;
      state.causes.push({ ...cause, message: `${cause.message} (this record failed alone ${times} the sink wrote others)` });
      return "dead";
    }
    const alone = (before.alone ?? 0) + 1;
    state.places.set(at, { tries, alone });
    if (fault !== undefined) state.fault ??= fault;
    this.#wait(state, { ...cause, limit: retries + 1, alone: tries > 0 ? "proved" : "unproved" }, backoffMs(FIRST_WAIT_ALONE_MS, alone));
    return "waits";
  }

  /** It failed alone before, and is not tried now: its sink looks down. Nothing is counted. */
  stayAlone(event: number, sink: string): void {
    const state = this.#at(event);
    state.waits = true;
    this.#noteWait(state, sink);
    state.retryAfterMs = Math.max(state.retryAfterMs, backoffMs(FIRST_WAIT_ALONE_MS, this.aloneBefore(event, sink)));
  }

  #wait(state: EventState, cause: DeadCause & RetryCause, waitMs: number): void {
    const { json: _, ...retry } = cause;
    state.waits = true;
    if (cause.sink !== "") this.#noteWait(state, cause.sink);
    state.retry ??= retry;
    state.retryAfterMs = Math.max(state.retryAfterMs, waitMs);
  }

  /** It is not decided yet what becomes of it in that sink: later events of its key wait there. */
  leaveOpen(event: number, sink: string): void {
    this.#noteWait(this.#at(event), sink);
  }

  /** A write of it was sent, and may have been done though nobody said so. */
  beginWrite(event: number): void {
    this.#at(event).writeBegun = true;
  }

  /** Later events of a key whose earlier one waits wait behind it. */
  holdFollowers(): void {
    const waiting = new Set<string>();
    for (const state of this.#states) {
      const { orderingKey } = state.event;
      if (orderingKey === undefined) continue;
      if (state.waits) waiting.add(orderingKey);
      else if (state.causes.length === 0 && waiting.has(orderingKey)) state.waits = true;
    }
  }

  results(): EventResult[] {
    return this.#states.map((state): EventResult => {
      if (state.waits) {
        const { retry, retryAfterMs, fault, writeBegun } = state;
        const places = { ...state.event.progress?.places, ...Object.fromEntries(state.places) };
        const tries = Math.max(state.event.progress?.tries ?? 0, ...Object.values(places).map((place) => place.tries));
        return { kind: "pending", sinksDone: [...state.sinksDone], tries, places, retryAfterMs, retry, fault, writeBegun };
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
