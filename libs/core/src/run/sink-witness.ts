/**
 * What one engine has seen its sinks do, in the order in which it saw it: evidence of whether a record that fails alone is to blame, or its sink.
 *
 * A failure is proved to be the record's when the sink wrote another record in a call that began after that failure. "It wrote something lately" is no proof: a
 * sink that has just gone down wrote something lately.
 *
 * Invariants: no clock, only the order of what happened; each failure counts at most once; forgetting (a restart, too many sinks) only delays a judgement, so
 * several engines need not know of each other. Non-duty: what follows from it (`sink-doubt.ts`).
 */
import { keepNewest } from "../keep-newest.ts";

export interface SinkWitness {
  /** A moment: of a call that begins, or that failed. */
  now(): number;
  /** A call that began at `begunAt` stored a record that was not stored before. */
  wrote(sink: string, begunAt: number): void;
  failedAlone(sink: string, effect: string, failure: AloneFailure): Earlier;
  /** True, once, if the last failure of this effect is proved. */
  isProved(sink: string, effect: string): boolean;
  /** Its last failure is counted without a proof. */
  count(effect: string): void;
  /** The effect was written, or is given up. */
  forget(effect: string): void;
  /** It looks down: a single record is tried before any others. Ends with the next record that is written. */
  isDown(sink: string): boolean;
  markDown(sink: string): void;
  /** It could not be reached, or said so itself. */
  markAway(sink: string): void;
  /** Records that failed alone for the first time, with nothing written since the first of them. */
  newInRow(sink: string): number;
}

export type AloneFailure = {
  /** When the first call failed that it was in, in this run. */
  readonly since: number;
  /** Nobody knows of an earlier failure alone. */
  readonly isNew: boolean;
};

export type Earlier = {
  /** Its failure before this one is proved by now. */
  readonly wasProved: boolean;
  /** Since its failure before this one no other record was tried, but such as had failed alone before. */
  readonly isIdle: boolean;
};

type SinkMemory = { wroteAt: number; triedAt: number; isDown: boolean; newInRow: number };
type Failure = { readonly at: number; aloneAt: number; isCounted: boolean };

const MAX_SINKS = 5_000;
const MAX_EFFECTS = 20_000;

export function createSinkWitness(): SinkWitness {
  const sinks = new Map<string, SinkMemory>();
  const failures = new Map<string, Failure>();
  let moment = 0;
  const now = (): number => ++moment;
  const of = (sink: string): SinkMemory => {
    const memory = sinks.get(sink) ?? { wroteAt: -1, triedAt: -1, isDown: false, newInRow: 0 };
    keepNewest(sinks, sink, memory, MAX_SINKS);
    return memory;
  };
  const isProved = (sink: string, effect: string): boolean => {
    const failure = failures.get(effect);
    if (failure === undefined || failure.isCounted || of(sink).wroteAt <= failure.at) return false;
    failure.isCounted = true;
    // What was tried until now has said what it can.
    failure.aloneAt = now();
    return true;
  };
  return {
    now,
    wrote(sink, begunAt) {
      const memory = of(sink);
      memory.wroteAt = Math.max(memory.wroteAt, begunAt);
      memory.triedAt = now();
      memory.isDown = false;
      memory.newInRow = 0;
    },
    failedAlone(sink, effect, { since, isNew }) {
      const memory = of(sink);
      const before = failures.get(effect);
      const earlier = { wasProved: isProved(sink, effect), isIdle: before !== undefined && memory.triedAt <= before.aloneAt };
      if (isNew) {
        memory.newInRow += 1;
        memory.triedAt = now();
      }
      keepNewest(failures, effect, { at: since, aloneAt: now(), isCounted: false }, MAX_EFFECTS);
      return earlier;
    },
    isProved,
    count(effect) {
      const failure = failures.get(effect);
      if (failure !== undefined) failure.isCounted = true;
    },
    forget: (effect) => void failures.delete(effect),
    isDown: (sink) => sinks.get(sink)?.isDown ?? false,
    markDown(sink) {
      Object.assign(of(sink), { isDown: true, triedAt: now() });
    },
    markAway(sink) {
      of(sink).triedAt = now();
    },
    newInRow: (sink) => sinks.get(sink)?.newInRow ?? 0,
  };
}
