/**
 * Failed writes that may be a record's fault or the sink's own: which it is.
 *
 * Duty: notices when a sink (or the whole load service) fails with everything, so that nothing more is sent to it in this run; judges, at the end of the run, the
 * records that failed alone. Non-duty: cutting calls and sending them (`write-sinks.ts`); what the sink did in other runs (`sink-witness.ts`).
 *
 * Invariants: a record is blamed only if the sink wrote another one in a call that began after its failure; a sink that fails with everybody costs no record a try; a record that failed alone before holds up nobody but later events of its key.
 */
import { OneDataError } from "../errors/onedata-error.ts";
import type { PlanSink } from "../plan/plan.ts";
import { ServiceFault } from "./call-fault.ts";
import type { EventStates } from "./event-states.ts";
import type { DeadCause } from "./run.ts";
import type { Earlier, SinkWitness } from "./sink-witness.ts";

export type Failure = { readonly code: string; readonly message: string };

/** A record, or all records of one event, that failed in a call of its own. */
type Alone = {
  readonly states: EventStates;
  readonly event: number;
  readonly sink: PlanSink;
  readonly key: string;
  /** For people: the sink and its pipeline. */
  readonly name: string;
  readonly effect: string;
  readonly cause: DeadCause;
  readonly isNew: boolean;
  readonly earlier: Earlier;
};

/** Records that fail alone for the first time, one after another and none written between: then it is the sink. */
const NEW_IN_ROW = 2;

export class SinkDoubt {
  readonly #service: string;
  readonly #witness: SinkWitness;
  /** By sink, and by service: calls that failed since something was written. */
  readonly #inRow = new Map<string, number>();
  readonly #faults = new Map<string, ServiceFault>();
  readonly #alone: Alone[] = [];
  /** By effect: when the first call failed that it was in. */
  readonly #failedAt = new Map<string, number>();

  constructor(service: string, witness: SinkWitness) {
    this.#service = service;
    this.#witness = witness;
  }

  /** Why nothing more is sent to this sink, or to the service. */
  faultOf(key: string): ServiceFault | undefined {
    return this.#faults.get(this.#service) ?? this.#faults.get(key);
  }

  wrote(key: string, begunAt: number): void {
    this.#inRow.delete(key);
    this.#inRow.delete(this.#service);
    this.#witness.wrote(key, begunAt);
    this.#witness.wrote(this.#service, begunAt);
  }

  /** It had failed alone, and is written now. */
  forget(effect: string): void {
    this.#witness.forget(effect);
  }

  /**
   * A call to that sink failed. Of `units` that the run has for it one bad unit makes at most log2 calls fail in a row, and its neighbour is written; so twice
   * as many, and some, mean that it fails with everything. A sink that looked down already gets one try.
   */
  callFailed(key: string, { units, weight, failure, name }: { units: number; weight: number; failure: Failure; name: string }): void {
    const inRow = (this.#inRow.get(key) ?? 0) + weight;
    this.#inRow.set(key, inRow);
    const most = this.#witness.isDown(key) ? 0 : 2 * Math.ceil(Math.log2(units + 1)) + 4;
    if (inRow > most) this.#stop(key, name, failure);
  }

  /** The effects were in a call that failed. */
  failed(effects: readonly string[]): void {
    const at = this.#witness.now();
    for (const effect of effects) if (!this.#failedAt.has(effect)) this.#failedAt.set(effect, at);
  }

  failedAlone(one: Omit<Alone, "isNew" | "earlier">): void {
    const isNew = one.states.aloneBefore(one.event, one.sink.id) === 0;
    const since = this.#failedAt.get(one.effect) ?? this.#witness.now();
    const earlier = this.#witness.failedAlone(one.key, one.effect, { since, isNew });
    one.states.leaveOpen(one.event, one.sink.id);
    this.#alone.push({ ...one, isNew, earlier });
  }

  /** The sink could not be reached, or says that it is away. */
  isAway(key: string): void {
    this.#witness.markAway(key);
  }

  /** The end of the run: each record that failed alone waits, or dies. Returns the fault of a sink that looks down. */
  judge(): ServiceFault | undefined {
    for (const one of this.#alone) {
      const { states, event, sink, key, effect, cause, isNew } = one;
      const counts = this.#countFailures(one);
      if (counts === 0 && isNew && this.#witness.newInRow(key) >= NEW_IN_ROW) this.#stop(key, one.name, cause);
      const fault = counts === 0 && isNew ? this.faultOf(key) : undefined;
      if (states.failAlone(event, cause, { counts, retries: sink.retries, fault }) === "dead") this.#witness.forget(effect);
    }
    const [first] = this.#faults.values();
    return first;
  }

  /** Proved failures; and where one is proved, also those with nothing else to try meanwhile: else the last record of a quiet pipeline would wait for ever. */
  #countFailures({ states, event, sink, key, effect, earlier }: Alone): number {
    const proofs = Number(earlier.wasProved) + Number(this.#witness.isProved(key, effect));
    if (proofs > 0 || !earlier.isIdle || states.triesBefore(event, sink.id) === 0 || this.faultOf(key) !== undefined) return proofs;
    this.#witness.count(effect);
    return 1;
  }

  #stop(key: string, name: string, { message }: Failure): void {
    this.#witness.markDown(key);
    if (!this.#faults.has(key)) this.#faults.set(key, new ServiceFault(name, new OneDataError("sink.unavailable", `${message}, for every record`)));
  }
}
