/**
 * The end of a run: what reached the sinks is written, all outputs of one event to one sink in one call.
 * Sinks of the engine itself are returned as outputs, for its fenced completion. A sink that is down holds back its events only for
 * itself: `sinksDone` remembers the others.
 */
import type { loadV1 } from "@onedata/contracts";
import type { ErrorCode } from "../errors/catalogue.ts";
import { OneDataError } from "../errors/onedata-error.ts";
import { ENGINE } from "../plan/plan.ts";
import { encodeConfig, prepareCall } from "./apply-stage.ts";
import { classifyCallError, ServiceFault } from "./call-fault.ts";
import { csvRowProblem } from "./csv-row.ts";
import { partCall } from "./pack-calls.ts";
import { doubtCall, partDoubtful, type Writing } from "./part-doubtful.ts";
import type { EngineOutput, RunDeps } from "./run.ts";
import { settleWrites } from "./settle-writes.ts";
import {
  type Call,
  causeOf,
  countBySink,
  effectKey,
  keyOf,
  line,
  orderCalls,
  type SinkWork,
  sourceOf,
  unitsOf,
  withoutFollowers,
} from "./sink-calls.ts";
import { SinkDoubt } from "./sink-doubt.ts";
import { createSinkWitness } from "./sink-witness.ts";

/** Events that wait keep their outputs back: both appear with the verdict. A record that a file could not hold kills its event, and nothing of it goes into that file. */
export function collectEngineOutputs(work: readonly SinkWork[]): EngineOutput[] {
  return work
    .filter(({ sink }) => sink.service === ENGINE)
    .flatMap((one) => {
      const { items, sink, sinkIndex, states } = one;
      // Done before: it is run again for the sake of another sink.
      const units = unitsOf(items.filter(({ event }) => !states.isWaiting(event) && !states.isSinkDone(event, sink.id)));
      return units.flatMap(({ event, items: own }) => {
        const causes = own.flatMap((item) => {
          const problem = csvRowProblem(sink, item.json);
          return problem === undefined ? [] : [causeOf(one, item, "sink.rejected", problem)];
        });
        for (const cause of causes) states.die(event, cause);
        return causes.length > 0 ? [] : own.map(({ json }, k) => ({ event, sink: sinkIndex, k, json }));
      });
    });
}

/** Writes to one load service; returns its fault, if it could not do its work. */
export async function writeSinks(
  service: string,
  work: readonly SinkWork[],
  deps: RunDeps,
): Promise<{ fault: ServiceFault | undefined; calls: number }> {
  const witness = deps.witness ?? createSinkWitness();
  const doubt = new SinkDoubt(service, witness);
  const parcels = work
    .map((group) => ({ group, units: unitsOf(group.items).filter(({ event }) => !group.states.isSinkDone(event, group.sink.id)) }))
    .filter(({ units }) => units.length > 0);
  const writing: Writing = { service, doubt, unitsBySink: countBySink(service, parcels) };
  const queue = orderCalls(parcels, service, witness);
  let calls = 0;
  let held: ServiceFault | undefined;
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const call = withoutFollowers(withoutStopped(next, writing));
    if (call.length === 0) continue;
    calls++;
    const begunAt = witness.now();
    try {
      const response = await deps.services.write(service, await prepareCall(service, toRequest(call, deps)));
      const settled = settleWrites(call, response, { service, doubt, begunAt });
      held = settled.held ?? held;
      line(queue, [...settled.doubtful.flatMap((part) => partDoubtful(part, writing)), settled.untried]);
    } catch (error) {
      const faultClass = error instanceof ServiceFault ? "service" : classifyCallError(error);
      if (faultClass === "data") {
        const halves = partCall(call);
        if (halves === undefined) failAlone(call, error);
        else line(queue, halves);
        continue;
      }
      if (faultClass === "ambiguous") {
        for (const { group, units } of call) for (const { event } of units) group.states.beginWrite(event);
        line(queue, doubtCall(call, error, writing));
        continue;
      }
      const fault = error instanceof ServiceFault ? error : new ServiceFault(service, error);
      holdCall(call, fault);
      for (const { group } of call) doubt.isAway(keyOf(service, group));
      const beside = fault.beside();
      for (const unsent of queue)
        for (const { group, units } of unsent) for (const { event } of units) group.states.hold(event, beside, group.sink.id);
      doubt.judge();
      return { fault, calls };
    }
  }
  return { fault: doubt.judge() ?? held, calls };
}

function withoutStopped(call: Call, { service, doubt }: Writing): Call {
  return call.filter(({ group, units }) => {
    const fault = doubt.faultOf(keyOf(service, group));
    if (fault === undefined) return true;
    for (const { event } of units) {
      if (group.states.aloneBefore(event, group.sink.id) > 0) group.states.stayAlone(event, group.sink.id);
      else group.states.hold(event, fault, group.sink.id);
    }
    return false;
  });
}

function holdCall(call: Call, fault: ServiceFault): void {
  const wasSent = OUTCOME_UNKNOWN.has(fault.code);
  for (const { group, units } of call) {
    for (const { event } of units) {
      group.states.hold(event, fault, group.sink.id);
      if (wasSent) group.states.beginWrite(event);
    }
  }
}

/** The call was sent, and nobody said what became of it. */
const OUTCOME_UNKNOWN: ReadonlySet<ErrorCode> = new Set(["request.timeout", "internal", "service.lost", "contract.breach", "aborted"]);

async function toRequest(call: Call, deps: RunDeps): Promise<loadV1.WriteRequest> {
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
        const source = sourceOf(group, event);
        const timeUnixNanos = group.events[event]?.timeUnixNanos ?? 0n;
        return items.map(({ json }, k) => ({ n: n++, key: effectKey(source, sink.id, k), json, timeUnixNanos, source }));
      }),
      empty: [],
    });
  }
  return { runId: deps.runId, installation: deps.installation, groups };
}

function failAlone(call: Call, error: unknown): void {
  const { code, message } = OneDataError.from(error);
  for (const { group, units } of call) {
    for (const { event, items } of units) for (const item of items) group.states.die(event, causeOf(group, item, code, message));
  }
}
