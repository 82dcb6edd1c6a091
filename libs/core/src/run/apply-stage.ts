/**
 * One stage of a run: the records of every group go through the stage's service in as few calls as fit.
 * Every record answers for itself; a response that misses, repeats or invents a number is a breach of the contract, a service fault, never "filtered".
 */
import type { transformV1 } from "@onedata/contracts";
import { OneDataError } from "../errors/onedata-error.ts";
import type { Stage } from "../plan/plan.ts";
import { canonicalJson } from "../plan/plan-pipeline.ts";
import { classifyCallError, ServiceFault } from "./call-fault.ts";
import { connectionFault, findMissingConnection, isConnectionDown } from "./connection-fault.ts";
import type { EventStates } from "./event-states.ts";
import { type Parcel, packCalls, partCall } from "./pack-calls.ts";
import { type DeadCause, MAX_EVENT_BYTES, type RunDeps, type RunGroup } from "./run.ts";

/** A record between stages, and the event it came from. */
export type Item = { readonly event: number; readonly json: Uint8Array };

export type StageWork = {
  readonly index: number;
  readonly group: RunGroup;
  readonly stage: Stage;
  readonly states: EventStates;
  readonly items: readonly Item[];
};

/** A record on its way into the stage, and the place where its results go. */
type Slot = { readonly item: Item; outputs: readonly Item[] };

export type StageResult = {
  /** Per group, in the order of the inputs. */
  readonly outputs: Item[][];
  readonly calls: number;
  /** Of a connection that holds back its own events; the others went through. */
  readonly held: ServiceFault | undefined;
};

/** Stops with a `ServiceFault` when the service cannot do its work. */
export async function applyStage(work: readonly StageWork[], deps: RunDeps): Promise<StageResult> {
  const slots = work.map((w) => w.items.map((item): Slot => ({ item, outputs: [] })));
  const parcels: Parcel<StageWork, Slot>[] = [];
  let held: ServiceFault | undefined;
  for (const [i, w] of work.entries()) {
    const units = await selectByWhen(w, slots[i] ?? [], deps);
    const missing = units.length === 0 ? undefined : await findMissingConnection(w, deps);
    if (missing !== undefined) held = holdCall([{ group: w, units }], missing);
    else if (units.length > 0) parcels.push({ group: w, units });
  }
  let calls = 0;
  const queue = packCalls(parcels, (slot) => ({ records: 1, bytes: slot.item.json.length })).reverse();
  for (let call = queue.pop(); call !== undefined; call = queue.pop()) {
    calls++;
    const service = call[0]?.group.stage.service ?? "";
    let response: transformV1.ApplyResponse;
    try {
      response = await deps.services.apply(service, await prepareCall(service, toRequest(call, deps)));
    } catch (error) {
      if (error instanceof ServiceFault) throw holdCall(call, error);
      if (!(await isDataFault(error, service, deps))) throw holdCall(call, new ServiceFault(service, error));
      const halves = partCall(call);
      if (halves === undefined) failAlone(call, error, deps);
      else queue.push(halves[1], halves[0]);
      continue;
    }
    held = settle(call, response, service, deps) ?? held;
  }
  return { outputs: slots.map((list) => list.flatMap((slot) => slot.outputs)), calls, held };
}

/** What a call needs (a connection, with its secret) could not be had: nothing was sent, so no record is to blame, whatever the error looks like. */
export async function prepareCall<R>(service: string, request: Promise<R>): Promise<R> {
  try {
    return await request;
  } catch (error) {
    const known = OneDataError.from(error);
    if (known.code !== "internal") throw new ServiceFault(service, known);
    throw new ServiceFault(
      service,
      new OneDataError("store.unavailable", "its connection could not be read from the platform's database", { cause: error }),
    );
  }
}

async function isDataFault(error: unknown, service: string, deps: RunDeps): Promise<boolean> {
  const faultClass = classifyCallError(error);
  return faultClass === "data" || (faultClass === "ambiguous" && (await deps.services.worksForOthers(service)));
}

/** Only what was in the call can have brought the service down; the rest of the run waits without blame. */
function holdCall(call: readonly Parcel<StageWork, Slot>[], fault: ServiceFault): ServiceFault {
  for (const { group, units } of call) for (const { item } of units) group.states.hold(item.event, fault);
  return fault;
}

/** Slots whose record goes into the step; the others bypass it, or die of their expression. */
async function selectByWhen(work: StageWork, slots: readonly Slot[], deps: RunDeps): Promise<Slot[]> {
  const { when } = work.stage;
  if (when === undefined) return [...slots];
  const chosen: Slot[] = [];
  for (const slot of slots) {
    const { item } = slot;
    const event = work.group.events[item.event];
    try {
      const verdict = deps.evaluateWhen(when, item.json, Number((event?.timeUnixNanos ?? 0n) / 1_000_000n));
      if (typeof verdict === "boolean" ? verdict : await verdict) {
        chosen.push(slot);
        continue;
      }
      slot.outputs = [item];
      observe(work, item.event, 0, "bypassed", [item.json], undefined, deps);
    } catch (error) {
      const { code, message } = OneDataError.from(error);
      die(work, slot, 0, { code, message: `when: ${message}` }, deps);
    }
  }
  return chosen;
}

async function toRequest(call: readonly Parcel<StageWork, Slot>[], deps: RunDeps): Promise<transformV1.ApplyRequest> {
  let n = 0;
  const groups: transformV1.ApplyGroup[] = [];
  for (const { group: work, units } of call) {
    groups.push({
      pipeline: work.group.pipeline,
      version: work.group.version,
      tenant: work.group.tenant,
      steps: await stepsOf(work, deps),
      records: units.map(({ item }) => ({ n: n++, json: item.json, timeUnixNanos: work.group.events[item.event]?.timeUnixNanos ?? 0n })),
    });
  }
  return { runId: deps.runId, groups };
}

const encoder = new TextEncoder();

function stepsOf(work: StageWork, deps: RunDeps): Promise<transformV1.ApplyStep[]> {
  return Promise.all(
    work.stage.steps.map(async (step) => ({
      operation: step.operation,
      configJson: encodeConfig(step),
      configHash: step.configHash,
      connection: step.connection === undefined ? undefined : await deps.connection?.(work.group.tenant, step.connection),
    })),
  );
}

const encodedConfigs = new WeakMap<object, Uint8Array>();

/** The bytes of a plan's config, made once per plan in memory. */
export function encodeConfig(step: { readonly config: Parameters<typeof canonicalJson>[0] }): Uint8Array {
  let bytes = encodedConfigs.get(step);
  if (bytes === undefined) {
    bytes = encoder.encode(canonicalJson(step.config));
    encodedConfigs.set(step, bytes);
  }
  return bytes;
}

/** Returns the fault of a connection behind the service, if one is down: it holds back its own events, not those of its neighbours in the call. */
function settle(
  call: readonly Parcel<StageWork, Slot>[],
  response: transformV1.ApplyResponse,
  service: string,
  deps: RunDeps,
): ServiceFault | undefined {
  let held: ServiceFault | undefined;
  const places = call.flatMap(({ group, units }) => units.map((slot) => ({ work: group, slot })));
  const results = orderResults(response.results, places.length, service);
  for (const [i, { work, slot }] of places.entries()) {
    const { outcome } = results[i] ?? {};
    const { event } = slot.item;
    switch (outcome?.$case) {
      case "outputs": {
        const { json } = outcome.value;
        const bytes = json.reduce((sum, one) => sum + one.length, 0);
        if (bytes > MAX_EVENT_BYTES) {
          die(
            work,
            slot,
            work.stage.steps.length - 1,
            { code: "record.too_large", message: `the step made ${bytes} bytes of one record; at most ${MAX_EVENT_BYTES}` },
            deps,
          );
          break;
        }
        slot.outputs = json.map((one) => ({ event, json: one }));
        observe(work, event, work.stage.steps.length - 1, "outputs", json, undefined, deps);
        break;
      }
      case "filtered":
        work.states.filter(event, stepAt(work, outcome.value.step).index);
        observe(work, event, outcome.value.step, "filtered", [], undefined, deps);
        break;
      case "failed": {
        const { step, code, message, retryable, retryAfter, json } = outcome.value;
        if (retryable && isConnectionDown(code)) {
          held = connectionFault(work, stepAt(work, step), message);
          work.states.hold(event, held);
        } else if (retryable) {
          const atLeastMs = Number(retryAfter?.seconds ?? 0n) * 1000;
          work.states.retryLater(event, causeOf(work, slot, step, { code, message, json }), {
            atLeastMs,
            retries: work.stage.steps[step]?.retries,
          });
        } else {
          die(work, slot, step, { code, message, json }, deps);
        }
        break;
      }
      case undefined:
        throw new ServiceFault(service, new OneDataError("contract.breach", `Apply of ${service} answered record ${i} with no outcome`));
    }
  }
  return held;
}

/** Results by number; throws `contract.breach` unless there is exactly one for each of 0 … count-1. */
export function orderResults<R extends { readonly n: number }>(results: readonly R[], count: number, service: string): R[] {
  const ordered: R[] = new Array<R>(count);
  for (const result of results) {
    if (result.n >= count) throw breach(service, `invents record ${result.n} of ${count}`);
    if (ordered[result.n] !== undefined) throw breach(service, `answers record ${result.n} twice`);
    ordered[result.n] = result;
  }
  if (results.length < count) throw breach(service, `answers ${results.length} of ${count} records`);
  return ordered;
}

function breach(service: string, what: string): ServiceFault {
  return new ServiceFault(
    service,
    new OneDataError("contract.breach", `the response of ${service} ${what}; a service answers every record of a call exactly once`),
  );
}

function failAlone(call: readonly Parcel<StageWork, Slot>[], error: unknown, deps: RunDeps): void {
  const { code, message } = OneDataError.from(error);
  for (const { group, units } of call) for (const slot of units) die(group, slot, 0, { code, message }, deps);
}

const stepAt = (work: StageWork, step: number) => work.stage.steps[step] ?? work.stage.steps[0] ?? { id: "", index: 0 };

/** `json`: the record as it was at that step, where the service says; else as it was sent. */
type Cause = { readonly code: string; readonly message: string; readonly json?: Uint8Array };

const causeOf = (work: StageWork, slot: Slot, step: number, { code, message, json }: Cause): DeadCause => ({
  step: stepAt(work, step).id,
  sink: "",
  code,
  message,
  json: json === undefined || json.length === 0 ? slot.item.json : json,
});

function die(work: StageWork, slot: Slot, step: number, cause: Cause, deps: RunDeps): void {
  work.states.die(slot.item.event, causeOf(work, slot, step, cause));
  observe(work, slot.item.event, step, "failed", [], cause, deps);
}

function observe(
  work: StageWork,
  event: number,
  step: number,
  outcome: "outputs" | "filtered" | "failed" | "bypassed",
  outputs: readonly Uint8Array[],
  cause: Cause | undefined,
  deps: RunDeps,
): void {
  deps.observe?.({ group: work.index, event, step: stepAt(work, step).id, outcome, outputs, code: cause?.code ?? "", message: cause?.message ?? "" });
}
