/**
 * Runs the events of one route through their plans: stage by stage, then the sinks.
 * Duty: order, lineage, verdicts. Not: claiming, leases, storing (the engine's), nor waiting: an event that must wait comes back as pending.
 * Invariants: every event gets exactly one result; an event with a dead record loads nothing of what that step would have led to; engine,
 * lab and `onedata run` share this one executor.
 */
import type { StageInput } from "../plan/plan.ts";
import { applyStage, type Item, type StageWork } from "./apply-stage.ts";
import { ServiceFault } from "./call-fault.ts";
import { EventStates } from "./event-states.ts";
import type { EngineOutput, RunDeps, RunGroup, RunResult, StageTiming } from "./run.ts";
import type { SinkWork } from "./sink-calls.ts";
import { collectEngineOutputs, writeSinks } from "./write-sinks.ts";

/** `groups` are of one route: their plans have the same services at the same stages. Throws only what is no fault of a service. */
export async function executeRun(groups: readonly RunGroup[], deps: RunDeps): Promise<RunResult> {
  const timings: StageTiming[] = [];
  const lanes = groups.map((group, index) => new GroupState(group, index, deps));
  let fault: ServiceFault | undefined;
  let held: ServiceFault | undefined;
  const stageCount = Math.max(0, ...groups.map((group) => group.plan.stages.length));
  for (let i = 0; i < stageCount && fault === undefined; i++) {
    const work = lanes.flatMap((lane) => lane.stageWork(i) ?? []);
    const startedMs = deps.monotonicMs();
    try {
      const { outputs, calls, held: heldHere } = await applyStage(work, deps);
      held ??= heldHere;
      for (const [k, w] of work.entries()) lanes[w.index]?.stageDone(i, outputs[k] ?? []);
      const [first] = work;
      if (first !== undefined && calls > 0) {
        timings.push({
          step: first.stage.steps.map((s) => s.id).join("+"),
          service: first.stage.service,
          durationMs: deps.monotonicMs() - startedMs,
          calls,
        });
      }
    } catch (error) {
      if (!(error instanceof ServiceFault)) throw error;
      fault = error;
      for (const lane of lanes) lane.holdAll(error.beside());
    }
  }
  const outputs = lanes.map((): EngineOutput[] => []);
  for (const lane of lanes) lane.states.holdFollowers();
  if (fault === undefined) fault = await loadResults(lanes, outputs, timings, deps);
  return { groups: lanes.map((lane, i) => ({ events: lane.states.results(), outputs: outputs[i] ?? [] })), fault: fault ?? held, timings };
}

/** External sinks first: an event that waits for one of them keeps its engine outputs back too, so both appear with its verdict. */
async function loadResults(
  lanes: readonly GroupState[],
  outputs: EngineOutput[][],
  timings: StageTiming[],
  deps: RunDeps,
): Promise<ServiceFault | undefined> {
  let fault: ServiceFault | undefined;
  const sinkWork = lanes.flatMap((lane) => lane.sinkWork());
  const services = new Set(sinkWork.map(({ sink }) => sink.service).filter((service) => service !== "engine"));
  for (const service of services) {
    const work = sinkWork.filter(({ sink }) => sink.service === service);
    const startedMs = deps.monotonicMs();
    const written = await writeSinks(service, work, deps);
    for (const lane of lanes) lane.states.holdFollowers();
    if (written.calls > 0) {
      timings.push({
        step: [...new Set(work.map(({ sink }) => sink.id))].slice(0, 4).join("+"),
        service,
        durationMs: deps.monotonicMs() - startedMs,
        calls: written.calls,
      });
    }
    fault ??= written.fault;
  }
  for (const [i, lane] of lanes.entries()) {
    outputs[i] = collectEngineOutputs(sinkWork.filter(({ states }) => states === lane.states));
  }
  return fault;
}

class GroupState {
  readonly states: EventStates;
  readonly #group: RunGroup;
  readonly #index: number;
  readonly #captured: readonly Item[];
  readonly #stageOutputs: (readonly Item[])[] = [];

  constructor(group: RunGroup, index: number, deps: RunDeps) {
    this.#group = group;
    this.#index = index;
    this.states = new EventStates(group.events);
    this.#captured = group.events.map((event, i) => ({ event: i, json: event.json }));
    for (const [i, event] of group.events.entries()) {
      const problem = deps.checkInput?.(group, event);
      if (problem !== undefined) this.states.die(i, { step: "input", sink: "", ...problem, json: event.json });
    }
  }

  stageWork(i: number): StageWork | undefined {
    const stage = this.#group.plan.stages[i];
    if (stage === undefined) return undefined;
    return { index: this.#index, group: this.#group, stage, states: this.states, items: this.#gather(stage.inputs) };
  }

  stageDone(i: number, outputs: readonly Item[]): void {
    this.#stageOutputs[i] = outputs;
  }

  holdAll(fault: ServiceFault): void {
    for (const i of this.#group.events.keys()) if (!this.states.isOut(i)) this.states.hold(i, fault);
  }

  sinkWork(): SinkWork[] {
    return this.#group.plan.sinks.map((sink, sinkIndex) => {
      const items = this.#gather(sink.inputs);
      for (const item of items) this.states.reachSink(item.event);
      return { group: this.#group, states: this.states, sink, sinkIndex, items };
    });
  }

  #gather(inputs: readonly StageInput[]): Item[] {
    const items: Item[] = [];
    for (const input of inputs) {
      const source = input === "input" ? this.#captured : (this.#stageOutputs[input] ?? []);
      for (const item of source) if (!this.states.isOut(item.event)) items.push(item);
    }
    return items;
  }
}
