/**
 * The calls of a run as its events' spans tell them: which service, which operations or sink, when and how long.
 * Non-duty: the calls' own spans (the mesh's clients make those).
 */
import { type EventResult, OneDataError, type RunGroup, type RunServices, type Stage } from "@onedata/core";
import type { Attributes } from "@opentelemetry/api";

export type CallNote = {
  readonly name: "apply" | "write";
  readonly startedMs: number;
  /** By what of which version it was for: an event was in it if its own is among them. */
  readonly attributes: ReadonlyMap<string, Attributes>;
};

export type EventCall = { readonly name: string; readonly startedMs: number; readonly attributes: Attributes };

type Version = Pick<RunGroup, "tenant" | "pipeline" | "version">;
const keyOf = ({ tenant, pipeline, version }: Version, what: string): string => `${tenant} ${pipeline} ${version} ${what}`;

/** The same services; adds a note for each call that has ended. */
export function watchCalls(services: RunServices, notes: CallNote[]): RunServices {
  const watch = async <R>(
    name: CallNote["name"],
    service: string,
    parts: readonly (Version & { readonly what: string })[],
    call: () => Promise<R>,
  ) => {
    const startedMs = Date.now();
    const started = performance.now();
    const note = (failure: Attributes): void => {
      const common = { "onedata.service": service, "onedata.duration_ms": Math.round((performance.now() - started) * 100) / 100, ...failure };
      const what = name === "apply" ? "onedata.operations" : "onedata.sink";
      notes.push({ name, startedMs, attributes: new Map(parts.map((part) => [keyOf(part, part.what), { ...common, [what]: part.what }])) });
    };
    try {
      const response = await call();
      note({});
      return response;
    } catch (error) {
      note({ "error.type": OneDataError.from(error).code });
      throw error;
    }
  };
  return {
    ...services,
    apply: (service, request) =>
      watch(
        "apply",
        service,
        request.groups.map(({ tenant, pipeline, version, steps }) => ({ tenant, pipeline, version, what: namesOf(steps) })),
        () => services.apply(service, request),
      ),
    write: (service, request) =>
      watch(
        "write",
        service,
        request.groups.map(({ tenant, pipeline, version, sinkId }) => ({ tenant, pipeline, version, what: sinkId })),
        () => services.write(service, request),
      ),
  };
}

const namesOf = (steps: readonly { readonly operation: string }[]): string => steps.map(({ operation }) => operation).join(",");

/** The calls that an event of `group` was in, as far as it came; calls of one kind that the run had to part are told as one each. */
export function callsOf(notes: readonly CallNote[], group: RunGroup, result: EventResult | undefined): EventCall[] {
  const { stages, sinks } = group.plan;
  const last = lastStageOf(stages, result);
  const keys = new Set([
    ...stages.slice(0, last === undefined ? undefined : last + 1).map(({ steps }) => keyOf(group, namesOf(steps))),
    ...(last === undefined ? sinks.map(({ id }) => keyOf(group, id)) : []),
  ]);
  return notes.flatMap(({ name, startedMs, attributes }) =>
    [...keys].flatMap((key) => {
      const own = attributes.get(key);
      return own === undefined ? [] : [{ name, startedMs, attributes: own }];
    }),
  );
}

/** Where an event ended before the sinks; undefined where it went through all stages. */
function lastStageOf(stages: readonly Stage[], result: EventResult | undefined): number | undefined {
  const place =
    result?.kind === "filtered"
      ? stages.findIndex(({ steps }) => steps.some(({ index }) => index === result.step))
      : result?.kind === "dead"
        ? stages.findIndex(({ steps }) => steps.some(({ id }) => id === result.causes[0]?.step))
        : -1;
  return place < 0 ? undefined : place;
}
