/**
 * Cuts a call that failed with what may be the service's or the sink's own fault, until the records that it fails with stand alone.
 * Non-duty: judging them (`sink-doubt.ts`).
 */
import { OneDataError } from "../errors/onedata-error.ts";
import { partCall } from "./pack-calls.ts";
import type { Doubtful } from "./settle-writes.ts";
import { type Call, causeOf, effectOf, keyOf, nameOf, type Unit } from "./sink-calls.ts";
import type { Failure, SinkDoubt } from "./sink-doubt.ts";

export type Writing = {
  readonly service: string;
  readonly doubt: SinkDoubt;
  readonly unitsBySink: ReadonlyMap<string, number>;
};

/** The whole call failed with what may be the service's own fault. */
export function doubtCall(call: Call, error: unknown, writing: Writing): Call[] {
  const { service, doubt, unitsBySink } = writing;
  const { code, message } = OneDataError.from(error);
  const failure = { code, message: `service ${service}: ${message}` };
  // A deadline costs its time each time.
  const weight = code === "request.timeout" ? 4 : 1;
  const keys = new Set(call.map(({ group }) => keyOf(service, group)));
  doubt.callFailed(service, { units: unitsBySink.get(service) ?? 1, weight, failure, name: service });
  const [key = service] = keys;
  if (keys.size === 1) doubt.callFailed(key, { units: unitsBySink.get(key) ?? 1, weight, failure, name: service });
  return partAlone(call, () => failure, writing);
}

/** Part of a call, all of one sink, failed with what may be the sink's own fault. */
export function partDoubtful({ call, failures }: Doubtful, writing: Writing): Call[] {
  const { service, doubt, unitsBySink } = writing;
  const [first] = call;
  const [failure] = failures.values();
  if (first === undefined || failure === undefined) return [];
  const key = keyOf(service, first.group);
  doubt.callFailed(key, { units: unitsBySink.get(key) ?? 1, weight: 1, failure, name: nameOf(service, first.group) });
  return partAlone(call, (unit) => failures.get(unit) ?? failure, writing);
}

function partAlone(call: Call, failureOf: (unit: Unit) => Failure, { service, doubt }: Writing): Call[] {
  doubt.failed(call.flatMap(({ group, units }) => units.map(({ event }) => effectOf(service, group, event))));
  const halves = partCall(call);
  if (halves !== undefined) return halves;
  for (const { group: work, units } of call) {
    for (const unit of units) {
      const { event, items } = unit;
      const [item] = items;
      if (item === undefined) continue;
      const cause = causeOf(work, item, "sink.failed", failureOf(unit).message);
      const { states, sink } = work;
      doubt.failedAlone({
        states,
        event,
        sink,
        key: keyOf(service, work),
        name: nameOf(service, work),
        effect: effectOf(service, work, event),
        cause,
      });
    }
  }
  return [];
}
