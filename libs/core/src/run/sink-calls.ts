/**
 * What a run has for its sinks, cut into calls, and the order in which they are sent.
 * Invariants: all outputs of one event to one sink go in one call; where order counts, no event overtakes an earlier one of its key that has failed or is open.
 */
import type { PlanSink } from "../plan/plan.ts";
import type { Item } from "./apply-stage.ts";
import type { EventStates } from "./event-states.ts";
import { type Parcel, packCalls } from "./pack-calls.ts";
import type { DeadCause, RunEvent, RunGroup } from "./run.ts";
import type { SinkWitness } from "./sink-witness.ts";

export type SinkWork = {
  readonly group: RunGroup;
  readonly states: EventStates;
  readonly sink: PlanSink;
  readonly sinkIndex: number;
  /** Records that reached this sink, of events that are still in. */
  readonly items: readonly Item[];
};

/** All outputs of one event for one sink. */
export type Unit = { readonly event: number; readonly items: readonly Item[] };

export type Call = readonly Parcel<SinkWork, Unit>[];

/** Pipelines with the same sink and config reach the same place: what it does for one says something for the others. */
export const keyOf = (service: string, { group: { tenant }, sink: { kind, configHash } }: SinkWork): string =>
  `${service} ${tenant} ${kind} ${configHash}`;
/** For people. */
export const nameOf = (service: string, { group, sink }: SinkWork): string => `${service} (sink ${sink.id} of ${group.pipeline})`;
export const effectOf = (service: string, { group, sink }: SinkWork, event: number): string =>
  `${service} ${group.tenant} ${group.pipeline} ${effectKey(sourceOf(group, event), sink.id, 0)}`;

export const sourceOf = ({ events }: RunGroup, event: number): RunEvent["source"] =>
  events[event]?.source ?? { batchId: 0n, seq: 0n, n: 0, generation: 0 };

/** The same effect has the same key over retries, re-claims and replays of one generation. */
export function effectKey(source: { readonly batchId: bigint; readonly n: number; readonly generation: number }, sink: string, k: number): string {
  return `${source.batchId}.${source.n}.${source.generation}.${sink}.${k}`;
}

export function unitsOf(items: readonly Item[]): Unit[] {
  const byEvent = new Map<number, Item[]>();
  for (const item of items) {
    const own = byEvent.get(item.event);
    if (own === undefined) byEvent.set(item.event, [item]);
    else own.push(item);
  }
  return [...byEvent].map(([event, own]) => ({ event, items: own }));
}

export function countBySink(service: string, parcels: Call): Map<string, number> {
  const counts = new Map<string, number>([[service, parcels.reduce((sum, { units }) => sum + units.length, 0)]]);
  for (const { group, units } of parcels) counts.set(keyOf(service, group), (counts.get(keyOf(service, group)) ?? 0) + units.length);
  return counts;
}

/**
 * Events that failed alone before go in calls of their own, after the others, so that nobody waits for them; where order counts before them, for their followers.
 * A sink that looked down gets one event first.
 */
export function orderCalls(parcels: Call, service: string, witness: SinkWitness): Parcel<SinkWork, Unit>[][] {
  const before: Parcel<SinkWork, Unit>[][] = [];
  const after: Parcel<SinkWork, Unit>[][] = [];
  const tried = new Set<string>();
  const rest: Parcel<SinkWork, Unit>[] = [];
  for (const { group, units } of parcels) {
    const key = keyOf(service, group);
    const isDown = witness.isDown(service) ? !tried.has(service) : witness.isDown(key) && !tried.has(key);
    const alone = units.filter(({ event }) => group.states.aloneBefore(event, group.sink.id) > 0);
    const others = alone.length === 0 ? units : units.filter((unit) => !alone.includes(unit));
    for (const unit of alone) (isOrdered(group, unit) ? before : after).push([{ group, units: [unit] }]);
    // Another one each time: the first may be the one that it fails with.
    const first = isDown
      ? others.some((unit) => isOrdered(group, unit))
        ? others[0]
        : others[witness.now() % Math.max(1, others.length)]
      : undefined;
    if (first === undefined) rest.push({ group, units: others });
    else {
      before.push([{ group, units: [first] }]);
      rest.push({ group, units: others.filter((unit) => unit !== first) });
      tried.add(key).add(service);
    }
  }
  return [...before, ...packCalls(rest, sizeOf), ...after];
}

const sizeOf = ({ items }: Unit): { records: number; bytes: number } => ({
  records: items.length,
  bytes: items.reduce((sum, item) => sum + item.json.length, 0),
});

const isOrdered = ({ group }: SinkWork, { event }: Unit): boolean => group.events[event]?.orderingKey !== undefined;

/** What follows a failed call: next where order counts, else last, so that what is written soon tells a bad record from a bad sink. */
export function line(queue: Call[], calls: readonly Call[]): void {
  const own = calls.filter((call) => call.length > 0);
  if (own.some((call) => call.some(({ group, units }) => units.some((unit) => isOrdered(group, unit))))) queue.unshift(...own);
  else queue.push(...own);
}

/** An earlier call may have left an event behind: later ones of its key do not overtake it in that sink. */
export function withoutFollowers(call: Call): Call {
  const kept: Parcel<SinkWork, Unit>[] = [];
  for (const { group: work, units } of call) {
    const isFollower = ({ event }: Unit): boolean => {
      const key = work.group.events[event]?.orderingKey;
      if (key === undefined || !work.states.waitsForSink(key, work.sink.id)) return false;
      work.states.holdBehind(event);
      return true;
    };
    const free = units.filter((unit) => !isFollower(unit));
    if (free.length > 0) kept.push({ group: work, units: free });
  }
  return kept;
}

export const causeOf = (work: SinkWork, item: Item, code: string, message: string): DeadCause => ({
  step: "",
  sink: work.sink.id,
  code,
  message,
  json: item.json,
});
