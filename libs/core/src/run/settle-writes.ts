/**
 * The answers of one Write, record by record.
 * Invariants: a response that misses, repeats or invents a number, or has no outcome for one, is a breach of the contract; an event is done in a sink when all its
 * records are; what may be a record's fault or the sink's own is left open here.
 */
import { loadV1 } from "@onedata/contracts";
import { OneDataError } from "../errors/onedata-error.ts";
import { orderResults } from "./apply-stage.ts";
import { ServiceFault } from "./call-fault.ts";
import type { Parcel } from "./pack-calls.ts";
import { type Call, causeOf, effectOf, keyOf, nameOf, type SinkWork, type Unit } from "./sink-calls.ts";
import type { Failure, SinkDoubt } from "./sink-doubt.ts";

/** Units of one sink that failed together. */
export type Doubtful = { readonly call: Parcel<SinkWork, Unit>[]; readonly failures: Map<Unit, Failure> };

export type Settled = {
  /** The fault of a sink behind the service that is down: it holds back its own events, not those of its neighbours in the call. */
  readonly held: ServiceFault | undefined;
  readonly doubtful: readonly Doubtful[];
  readonly untried: Call;
};

export function settleWrites(
  call: Call,
  response: loadV1.WriteResponse,
  { service, doubt, begunAt }: { readonly service: string; readonly doubt: SinkDoubt; readonly begunAt: number },
): Settled {
  let held: ServiceFault | undefined;
  const doubtful = new Map<string, Doubtful>();
  const untried: Parcel<SinkWork, Unit>[] = [];
  const count = call.reduce((sum, { units }) => sum + units.reduce((own, unit) => own + unit.items.length, 0), 0);
  const results = orderResults(response.results, count, service);
  let n = 0;
  for (const { group: work, units } of call) {
    const key = keyOf(service, work);
    const open: { failed: Unit[]; untried: Unit[] } = { failed: [], untried: [] };
    let wroteAny = false;
    for (const unit of units) {
      const { event, items } = unit;
      const first = n;
      n += items.length;
      const outcomes = results.slice(first, n).map(({ outcome }, i) => outcome ?? refuseAnswer(service, first + i));
      const failed = outcomes.flatMap((outcome, i) => (outcome.$case === "failed" ? [{ ...outcome.value, item: items[i] }] : []));
      if (failed.length === 0) {
        work.states.finishSink(event, work.sink.id);
        wroteAny ||= outcomes.some(({ $case }) => $case === "written");
        if (work.states.aloneBefore(event, work.sink.id) > 0) doubt.forget(effectOf(service, work, event));
        continue;
      }
      const unclear = failed.every(isOpen) ? failed.find(({ blame }) => blame === loadV1.Blame.UNCLEAR) : undefined;
      if (unclear !== undefined) {
        const own = doubtful.get(key) ?? { call: [], failures: new Map<Unit, Failure>() };
        doubtful.set(key, own);
        own.failures.set(unit, unclear);
        open.failed.push(unit);
      } else if (failed.every(isOpen)) open.untried.push(unit);
      else {
        for (const { item, code, message, retryable, retryAfter } of failed) {
          if (item === undefined) continue;
          const cause = causeOf(work, item, code, message);
          if (retryable && isSinkDown(code)) {
            held = new ServiceFault(nameOf(service, work), new OneDataError("sink.unavailable", message));
            work.states.hold(event, held, work.sink.id);
            doubt.isAway(key);
          } else if (retryable) {
            work.states.retryLater(event, cause, { atLeastMs: Number(retryAfter?.seconds ?? 0n) * 1000, retries: work.sink.retries });
          } else work.states.die(event, cause);
        }
      }
    }
    if (wroteAny) doubt.wrote(key, begunAt);
    if (open.failed.length > 0) doubtful.get(key)?.call.push({ group: work, units: open.failed });
    if (open.untried.length > 0) untried.push({ group: work, units: open.untried });
  }
  return { held, doubtful: [...doubtful.values()], untried };
}

const isOpen = ({ retryable, blame }: loadV1.WriteFailed): boolean => retryable && (blame ?? loadV1.Blame.UNSPECIFIED) !== loadV1.Blame.UNSPECIFIED;

function refuseAnswer(service: string, n: number): never {
  throw new ServiceFault(service, new OneDataError("contract.breach", `Write of ${service} answered record ${n} with no outcome`));
}

/** What the record is not to blame for costs it no try. */
const isSinkDown = (code: string): boolean => code === "sink.unavailable" || code === "service.unavailable";
