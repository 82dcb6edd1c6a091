/**
 * The end of a run: what reached the sinks is written, all outputs of one event to one sink in one call.
 * Sinks of the engine itself are returned as outputs, for its fenced completion. A sink that is down holds back its events only for
 * itself: `sinksDone` remembers the others.
 */
import type { loadV1 } from "@onedata/contracts";
import { OneDataError } from "../errors/onedata-error.ts";
import { ENGINE, type PlanSink } from "../plan/plan.ts";
import { encodeConfig, type Item, isDataFault, orderResults } from "./apply-stage.ts";
import { ServiceFault } from "./call-fault.ts";
import type { EventStates } from "./event-states.ts";
import { type Parcel, packCalls, partCall } from "./pack-calls.ts";
import type { DeadCause, EngineOutput, RunDeps, RunGroup } from "./run.ts";

export type SinkWork = {
  readonly group: RunGroup;
  readonly states: EventStates;
  readonly sink: PlanSink;
  readonly sinkIndex: number;
  /** Records that reached this sink, of events that are still in. */
  readonly items: readonly Item[];
};

/** All outputs of one event for one sink. */
type Unit = { readonly event: number; readonly items: readonly Item[] };

/** Events that wait keep their outputs back: both appear with the verdict. */
export function collectEngineOutputs(work: readonly SinkWork[]): EngineOutput[] {
  return work
    .filter(({ sink }) => sink.service === ENGINE)
    .flatMap(({ items, sinkIndex, states }) =>
      unitsOf(items.filter(({ event }) => !states.isWaiting(event))).flatMap(({ event, items: own }) =>
        own.map(({ json }, k) => ({ event, sink: sinkIndex, k, json })),
      ),
    );
}

/** Writes to one load service; returns its fault, if it could not do its work. */
export async function writeSinks(
  service: string,
  work: readonly SinkWork[],
  deps: RunDeps,
): Promise<{ fault: ServiceFault | undefined; calls: number }> {
  const parcels = work
    .map((group) => ({ group, units: unitsOf(group.items).filter(({ event }) => !group.states.isSinkDone(event, group.sink.id)) }))
    .filter(({ units }) => units.length > 0);
  const queue = packCalls(parcels, ({ items }) => ({
    records: items.length,
    bytes: items.reduce((sum, item) => sum + item.json.length, 0),
  })).reverse();
  let calls = 0;
  let held: ServiceFault | undefined;
  for (let call = queue.pop(); call !== undefined; call = queue.pop()) {
    calls++;
    try {
      held = settle(call, await deps.services.write(service, await toRequest(call, deps)), service) ?? held;
    } catch (error) {
      if (!(error instanceof ServiceFault) && isDataFault(error, service, deps)) {
        const halves = partCall(call);
        if (halves === undefined) failAlone(call, error);
        else queue.push(halves[1], halves[0]);
        continue;
      }
      const fault = error instanceof ServiceFault ? error : new ServiceFault(service, error);
      for (const unsent of [call, ...queue]) for (const { group, units } of unsent) for (const { event } of units) group.states.hold(event, fault);
      return { fault, calls };
    }
  }
  return { fault: held, calls };
}

function unitsOf(items: readonly Item[]): Unit[] {
  const byEvent = new Map<number, Item[]>();
  for (const item of items) {
    const own = byEvent.get(item.event);
    if (own === undefined) byEvent.set(item.event, [item]);
    else own.push(item);
  }
  return [...byEvent].map(([event, own]) => ({ event, items: own }));
}

async function toRequest(call: readonly Parcel<SinkWork, Unit>[], deps: RunDeps): Promise<loadV1.WriteRequest> {
  let n = 0;
  const groups: loadV1.WriteGroup[] = [];
  for (const { group: work, units } of call) {
    const { group, sink } = work;
    groups.push({
      sink: sink.kind,
      sinkId: sink.id,
      pipeline: group.pipeline,
      version: group.version,
      tenant: group.tenant,
      configJson: encodeConfig(sink),
      configHash: sink.configHash,
      connection: sink.connection === undefined ? undefined : await deps.connection?.(group.tenant, sink.connection),
      records: units.flatMap(({ event, items }) => {
        const from = group.events[event];
        const source = from?.source ?? { batchId: 0n, n: 0, generation: 0 };
        const timeUnixNanos = from?.timeUnixNanos ?? 0n;
        return items.map(({ json }, k) => ({ n: n++, key: effectKey(source, sink.id, k), json, timeUnixNanos, source }));
      }),
      empty: [],
    });
  }
  return { runId: deps.runId, installation: deps.installation, groups };
}

/** The same effect has the same key over retries, re-claims and replays of one generation. */
export function effectKey(source: { readonly batchId: bigint; readonly n: number; readonly generation: number }, sink: string, k: number): string {
  return `${source.batchId}.${source.n}.${source.generation}.${sink}.${k}`;
}

/** Returns the fault of a sink behind the service, if one is down: it holds back its own events, not those of its neighbours in the call. */
function settle(call: readonly Parcel<SinkWork, Unit>[], response: loadV1.WriteResponse, service: string): ServiceFault | undefined {
  let held: ServiceFault | undefined;
  const count = call.reduce((sum, { units }) => sum + units.reduce((own, unit) => own + unit.items.length, 0), 0);
  const results = orderResults(response.results, count, service);
  let n = 0;
  for (const { group: work, units } of call) {
    for (const { event, items } of units) {
      let stored = true;
      for (const item of items) {
        const outcome = results[n++]?.outcome;
        if (outcome === undefined) {
          throw new ServiceFault(service, new OneDataError("contract.breach", `Write of ${service} answered record ${n - 1} with no outcome`));
        }
        if (outcome.$case !== "failed") continue;
        stored = false;
        const { code, message, retryable, retryAfter } = outcome.value;
        const cause = causeOf(work, item, code, message);
        if (retryable && isSinkDown(code)) {
          held = new ServiceFault(`${service} (sink ${work.sink.id} of ${work.group.pipeline})`, new OneDataError("sink.unavailable", message));
          work.states.hold(event, held);
        } else if (retryable) work.states.retryLater(event, cause, Number(retryAfter?.seconds ?? 0n) * 1000);
        else work.states.die(event, cause);
      }
      if (stored) work.states.finishSink(event, work.sink.id);
    }
  }
  return held;
}

/** What the record is not to blame for costs it no try. */
const isSinkDown = (code: string): boolean => code === "sink.unavailable" || code === "service.unavailable";

function failAlone(call: readonly Parcel<SinkWork, Unit>[], error: unknown): void {
  const { code, message } = OneDataError.from(error);
  for (const { group, units } of call) {
    for (const { event, items } of units) for (const item of items) group.states.die(event, causeOf(group, item, code, message));
  }
}

const causeOf = (work: SinkWork, item: Item, code: string, message: string): DeadCause => ({
  step: "",
  sink: work.sink.id,
  code,
  message,
  json: item.json,
});
