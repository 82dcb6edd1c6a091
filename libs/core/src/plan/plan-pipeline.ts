/**
 * Type-checks a spec against the catalogue and plans it.
 * Duty: names, the DAG (unknown needs, cycles, results that reach no sink), fusion, the route. Not: configs against their JSON Schema (the caller's
 * validator, which has the packages for it), the outside world (tables, rights).
 */
import type { Violation } from "../errors/onedata-error.ts";
import { isJsonObject, type Json, type JsonObject, toPointer } from "../json.ts";
import type { OperationDescription } from "../operation.ts";
import { didYouMean } from "../suggest.ts";
import { type Catalogue, type CatalogueEntry, ENGINE, type Plan, type PlanSink, type PlanStep, type Stage } from "./plan.ts";
import type { PipelineSpec, SinkSpec, StepSpec } from "./spec.ts";

export type PlanDeps = {
  /** Cryptographic hash of a config's canonical JSON; services share compiled configs by it, over tenants. */
  readonly hash: (text: string) => string;
  /** Config problems with pointers relative to the config. */
  readonly checkConfig?: (entry: CatalogueEntry, config: JsonObject) => readonly Violation[];
  /** Off for previews, which show every step. */
  readonly fuse?: boolean;
};

export type Planned = { readonly plan: Plan | undefined; readonly violations: readonly Violation[] };

const DEFAULT_SINK: SinkSpec = { id: "outputs", use: "onedata.outputs", with: {}, from: undefined };

/** The plan, or every problem at once. */
export function planPipeline(spec: PipelineSpec, catalogue: Catalogue, deps: PlanDeps): Planned {
  const violations: Violation[] = [];
  const report = (path: readonly (string | number)[], code: string, detail: string): void => {
    violations.push({ pointer: toPointer(path), code, detail });
  };
  const steps = resolveNeeds(spec, report);
  const sinkSpecs = spec.sinks.length > 0 ? spec.sinks : [DEFAULT_SINK];
  const entryOf = (path: readonly (string | number)[], use: string, config: JsonObject, kind: CatalogueEntry["kind"]): CatalogueEntry | undefined => {
    const entry = catalogue.get(use);
    if (entry === undefined || entry.kind !== kind) {
      if (use !== "") {
        const known = [...catalogue].filter(([, e]) => e.kind === kind).map(([name]) => name);
        report(
          [...path, "use"],
          "spec.unknown_operation",
          `unknown ${kind} ${JSON.stringify(use)}${didYouMean(use, known) || ";"} GET /v1/operations lists what there is`,
        );
      }
      return undefined;
    }
    if (entry.description.shape === "batch") {
      report(
        [...path, "use"],
        "spec.batch_without_unit",
        `${use} sees several records at once; it needs a declared unit (an import or a window), which a pipeline does not have yet`,
      );
    }
    if (mustNameConnection(entry.description) && typeof config["connection"] !== "string") {
      report([...path, "with", "connection"], "spec.required", `${use} needs a connection: name one of GET /v1/connections`);
    }
    for (const v of deps.checkConfig?.(entry, config) ?? []) violations.push({ ...v, pointer: `${toPointer([...path, "with"])}${v.pointer}` });
    return entry;
  };
  const stepEntries = spec.steps.map((step, i) => entryOf(["steps", i], step.use, step.with, "operation"));
  const sinkEntries = sinkSpecs.map((sink, i) => entryOf(["sinks", i], sink.use, sink.with, "sink"));
  const order = topologicalOrder(spec, steps, report);
  const leaves = findLeaves(spec.steps, steps);
  const sinkSources = sinkSpecs.map((sink, i) => resolveFrom(sink, i, spec.steps, leaves, report));
  if (order !== undefined) reportUnread(spec, steps, sinkSources, report);
  if (violations.length > 0 || order === undefined) return { plan: undefined, violations };

  const readBySink = new Set(sinkSources.flat());
  const stages: Stage[] = [];
  /** Which stage's output a step's result is. */
  const stageOf = new Map<string, number>();
  for (const i of order) {
    const step = spec.steps[i];
    const entry = stepEntries[i];
    const needs = steps[i];
    if (step === undefined || entry === undefined || needs === undefined) continue;
    const planned = planStep(step, i, entry, deps);
    const previous = needs.length === 1 && needs[0] !== undefined ? stageOf.get(needs[0]) : undefined;
    const target = previous === undefined ? undefined : stages[previous];
    const last = target?.steps.at(-1);
    if (
      deps.fuse !== false &&
      previous !== undefined &&
      target !== undefined &&
      last !== undefined &&
      step.when === undefined &&
      target.when === undefined &&
      target.service === entry.service &&
      last.id === needs[0] &&
      !readBySink.has(last.id) &&
      countReaders(steps, last.id) === 1
    ) {
      stages[previous] = { ...target, steps: [...target.steps, planned] };
      stageOf.set(step.id, previous);
      continue;
    }
    const inputs = needs.length === 0 ? ["input" as const] : needs.map((need) => stageOf.get(need) ?? 0);
    stages.push({ service: entry.service, steps: [planned], inputs, ...(step.when === undefined ? {} : { when: step.when }) });
    stageOf.set(step.id, stages.length - 1);
  }
  const sinks = sinkSpecs.map((sink, i): PlanSink => {
    const from = sinkSources[i] ?? [];
    return {
      id: sink.id,
      kind: sink.use,
      service: sinkEntries[i]?.service ?? ENGINE,
      ...configOf(sink.with, sinkEntries[i]?.description, deps),
      ...retriesOf(sink),
      inputs: from.length === 0 ? ["input"] : from.map((id) => stageOf.get(id) ?? 0),
    };
  });
  return {
    plan: {
      route: routeOf(stages, sinks),
      stages,
      sinks,
      ...(spec.input.schema === undefined ? {} : { inputSchema: spec.input.schema }),
      ...(spec.selfPause === undefined ? {} : { selfPause: spec.selfPause }),
    },
    violations,
  };
}

/** Sinks that the engine writes itself are part of the route too: they add no call, but a name keeps `>` readable. */
function routeOf(stages: readonly Stage[], sinks: readonly PlanSink[]): string {
  const loaders = [...new Set(sinks.map((sink) => sink.service))].sort();
  return `${stages.map((stage) => stage.service).join(",")}>${loaders.join(",")}`;
}

function planStep(step: StepSpec, index: number, entry: CatalogueEntry, deps: PlanDeps): PlanStep {
  return { id: step.id, index, operation: entry.description.name, ...configOf(step.with, entry.description, deps), ...retriesOf(step) };
}

const retriesOf = ({ retries }: { readonly retries?: number | undefined }): { retries?: number } => (retries === undefined ? {} : { retries });

/** Needed unless the schema declares it and does not require it. */
function mustNameConnection({ needsConnection, configSchema: { properties, required } }: OperationDescription): boolean {
  if (needsConnection !== true) return false;
  const isDeclared = isJsonObject(properties) && Object.hasOwn(properties, "connection");
  return !isDeclared || (Array.isArray(required) && required.includes("connection"));
}

/** A member `connection` of an operation that asks for none is its own affair: no secret goes there. */
function configOf(
  config: JsonObject,
  description: OperationDescription | undefined,
  deps: PlanDeps,
): { config: Json; configHash: string; connection?: string } {
  const connection = description?.needsConnection === true ? config["connection"] : undefined;
  return { config, configHash: deps.hash(canonicalJson(config)), ...(typeof connection === "string" ? { connection } : {}) };
}

type Report = (path: readonly (string | number)[], code: string, detail: string) => void;

/** Per step the ids it reads; a step that needs nothing reads the input. */
function resolveNeeds(spec: PipelineSpec, report: Report): string[][] {
  const ids = new Set<string>();
  spec.steps.forEach((step, i) => {
    if (step.id !== "" && ids.has(step.id))
      report(["steps", i, "id"], "spec.duplicate_id", `the id ${JSON.stringify(step.id)} is used twice; ids are unique in a pipeline`);
    ids.add(step.id);
  });
  return spec.steps.map((step, i) => {
    if (step.needs === undefined) {
      const previous = spec.steps[i - 1];
      return previous === undefined ? [] : [previous.id];
    }
    return step.needs.filter((need, k) => {
      if (!ids.has(need)) report(["steps", i, "needs", k], "spec.unknown_step", `no step ${JSON.stringify(need)}${didYouMean(need, ids)}`);
      else if (step.needs?.indexOf(need) !== k) report(["steps", i, "needs", k], "spec.duplicate_id", `${JSON.stringify(need)} stands twice`);
      return ids.has(need);
    });
  });
}

/** Kahn's algorithm, stable in document order; `undefined` (reported with the steps of the cycle) if there is none. */
function topologicalOrder(spec: PipelineSpec, needs: readonly (readonly string[])[], report: Report): number[] | undefined {
  const done = new Set<string>();
  const order: number[] = [];
  const left = new Set(spec.steps.keys());
  for (let moved = true; moved; ) {
    moved = false;
    for (const i of left) {
      const step = spec.steps[i];
      if (step === undefined || !(needs[i] ?? []).every((need) => done.has(need))) continue;
      done.add(step.id);
      order.push(i);
      left.delete(i);
      moved = true;
      break;
    }
  }
  if (left.size === 0) return order;
  const names = [...left].map((i) => spec.steps[i]?.id ?? "").join(", ");
  for (const i of left)
    report(["steps", i, "needs"], "spec.cycle", `cannot be reached: ${names} wait for each other; let one of them need an earlier step or []`);
  return undefined;
}

const countReaders = (needs: readonly (readonly string[])[], id: string): number => needs.filter((list) => list.includes(id)).length;

const findLeaves = (steps: readonly StepSpec[], needs: readonly (readonly string[])[]): string[] =>
  steps.map((step) => step.id).filter((id) => countReaders(needs, id) === 0);

function resolveFrom(sink: SinkSpec, i: number, steps: readonly StepSpec[], leaves: string[], report: Report): string[] {
  if (sink.from === undefined) return leaves;
  const ids = steps.map((step) => step.id);
  return sink.from.filter((from, k) => {
    if (!ids.includes(from)) report(["sinks", i, "from", k], "spec.unknown_step", `no step ${JSON.stringify(from)}${didYouMean(from, ids)}`);
    return ids.includes(from);
  });
}

/** A step whose result reaches no sink does work for nothing: surely a mistake. */
function reportUnread(spec: PipelineSpec, needs: readonly (readonly string[])[], sinkSources: readonly (readonly string[])[], report: Report): void {
  const read = new Set(sinkSources.flat());
  const queue = [...read];
  for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
    for (const need of needs[spec.steps.findIndex((step) => step.id === id)] ?? []) {
      if (!read.has(need)) {
        read.add(need);
        queue.push(need);
      }
    }
  }
  spec.steps.forEach((step, i) => {
    if (!read.has(step.id))
      report(["steps", i], "spec.unreachable", `the result of ${JSON.stringify(step.id)} reaches no sink; name it in a sink's from, or remove it`);
  });
}

/** JSON with sorted members: equal configs give equal text. */
export function canonicalJson(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (isJsonObject(value)) {
    const members = Object.keys(value).sort();
    return `{${members.map((m) => `${JSON.stringify(m)}:${canonicalJson(value[m] ?? null)}`).join(",")}}`;
  }
  return typeof value === "object" && value !== null ? value.toString() : JSON.stringify(value);
}
