/**
 * What pipelines can be made of: the answers to `Describe` of every service, kept fresh.
 *
 * Invariants:
 * 1. A service that is down keeps what it last said: pipelines that use it can still be read and applied.
 * 2. `onedata.outputs` is the engine's own sink: it is written in the fenced completion, by no service.
 * 3. A refresh never runs twice at once; whoever needs one waits for the one that runs.
 * 4. What a service offers that has not answered since this process began is not unknown yet: services start beside it, and who applies a pipeline right after a
 *    start waits for them.
 */
import type { transformV1 } from "@onedata/contracts";
import { type Catalogue, type CatalogueEntry, ENGINE, isJsonObject, OneDataError, type OperationDescription } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import { START_LIMIT_MS } from "./tell-unreachable.ts";

/** One service to ask, whatever it serves. */
export type DescribedService = {
  readonly kind: "operation" | "sink";
  /** For messages until it has said its name. */
  readonly address: string;
  describe(signal: AbortSignal): Promise<{ readonly service: string; readonly operations: readonly transformV1.Operation[] }>;
};

export type ListedEntry = { readonly kind: CatalogueEntry["kind"]; readonly service: string; readonly operation: transformV1.Operation };

export interface CatalogueReader {
  /** For the planner. When `wanted` names something unknown: asks again first, and waits some seconds for services that may be starting. */
  read(wanted?: Iterable<string>): Promise<Catalogue>;
  /** By name. */
  list(): Promise<readonly ListedEntry[]>;
  /** Services that did not answer last time, and why. */
  readonly unreachable: ReadonlyMap<string, string>;
  refresh(): Promise<void>;
}

const DESCRIBE_TIMEOUT_MS = 3_000;
/** Less than the time a caller has for applying a pipeline. */
const PATIENCE_MS = 20_000;
const LOOK_MS = 100;

const OUTPUTS: transformV1.Operation = {
  name: "onedata.outputs",
  title: "Keep the results in OneData",
  doc: "Results are read with `GET /v1/pipelines/{pipeline}/outputs`. A pipeline with no sink has this one.",
  configSchema: '{"type":"object","properties":{},"additionalProperties":false}',
  shape: "map",
  effects: "write",
  examples: [],
  needsConnection: false,
  engineHandled: true,
};

/** `minAgeMs`: an unknown name asks the services again, but not more often than this. */
export function createCatalogue(services: readonly DescribedService[], { minAgeMs = 1_000, nowMs = () => performance.now() } = {}): CatalogueReader {
  const answers = new Map<DescribedService, readonly ListedEntry[]>();
  const unreachable = new Map<string, string>();
  let entries: ReadonlyMap<string, ListedEntry> = new Map();
  let catalogue: Catalogue = new Map();
  let refreshing: Promise<void> | undefined;
  let refreshedAtMs = Number.NEGATIVE_INFINITY;
  const startedAtMs = nowMs();

  const ask = async (service: DescribedService): Promise<void> => {
    try {
      const { service: name, operations } = await service.describe(AbortSignal.timeout(DESCRIBE_TIMEOUT_MS));
      answers.set(
        service,
        operations.map((operation) => ({ kind: service.kind, service: name, operation })),
      );
      unreachable.delete(service.address);
    } catch (error) {
      unreachable.set(service.address, OneDataError.from(error).message);
    }
  };
  const refresh = async (): Promise<void> => {
    await Promise.all(services.map(ask));
    const next = new Map<string, ListedEntry>();
    // The first service to name an operation has it: a later one cannot take it over.
    for (const service of services)
      for (const entry of answers.get(service) ?? []) if (!next.has(entry.operation.name)) next.set(entry.operation.name, entry);
    next.set(OUTPUTS.name, { kind: "sink", service: ENGINE, operation: OUTPUTS });
    entries = new Map([...next].sort(([a], [b]) => (a < b ? -1 : 1)));
    catalogue = new Map([...entries].flatMap(([name, entry]) => toEntry(name, entry, unreachable)));
    refreshedAtMs = nowMs();
  };
  const reader: CatalogueReader = {
    unreachable,
    refresh: () => (refreshing ??= refresh().finally(() => (refreshing = undefined))),
    async read(wanted = []) {
      const names = [...wanted];
      const isKnown = (): boolean => refreshedAtMs !== Number.NEGATIVE_INFINITY && names.every((name) => catalogue.has(name));
      const endMs = Math.min(nowMs() + PATIENCE_MS, startedAtMs + START_LIMIT_MS);
      if (!isKnown() && nowMs() - refreshedAtMs > minAgeMs) await reader.refresh();
      while (!isKnown() && answers.size < services.length && nowMs() < endMs) {
        await new Promise((later) => setTimeout(later, LOOK_MS));
        await reader.refresh();
      }
      return catalogue;
    },
    async list() {
      if (refreshedAtMs === Number.NEGATIVE_INFINITY) await reader.refresh();
      return [...entries.values()];
    },
  };
  return reader;
}

function toEntry(name: string, { kind, service, operation }: ListedEntry, unreachable: Map<string, string>): [string, CatalogueEntry][] {
  try {
    return [[name, { kind, service: operation.engineHandled ? ENGINE : service, description: toDescription(operation) }]];
  } catch (error) {
    unreachable.set(`${service} ${name}`, `its description is broken: ${OneDataError.from(error).message}`);
    return [];
  }
}

function toDescription(operation: transformV1.Operation): OperationDescription {
  const configSchema = parseJson(operation.configSchema === "" ? "{}" : operation.configSchema);
  const { shape, effects } = operation;
  if (!isJsonObject(configSchema)) throw new OneDataError("contract.breach", "config_schema is no JSON object");
  if (shape !== "map" && shape !== "filter" && shape !== "flatMap" && shape !== "batch")
    throw new OneDataError("contract.breach", `unknown shape ${JSON.stringify(shape)}`);
  if (effects !== "none" && effects !== "read" && effects !== "write")
    throw new OneDataError("contract.breach", `unknown effects ${JSON.stringify(effects)}`);
  return {
    name: operation.name,
    title: operation.title,
    doc: operation.doc,
    shape,
    effects,
    configSchema,
    examples: [],
    needsConnection: operation.needsConnection,
  };
}
