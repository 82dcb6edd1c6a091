/**
 * "Where did it go?": per sink of the version that ran an event last, its target, what became of it there, and some of the records.
 *
 * Invariants:
 * 1. Each sink is answered for by the place that wrote to it: a replay of what died at one sink leaves the others as the delivery before wrote them. A place is the
 *    capture or a replay, with its own payload and version.
 * 2. Results that OneData keeps (onedata.outputs, files) are shown as they were stored. Others are computed again from that payload with that version, in
 *    the lab, which writes nothing; `stored` tells which. A plan with a step that writes is not run again.
 * 3. What is computed again proves nothing: a sink for which it yields no record is `unknown`, never `filtered`.
 * 4. It is an addition: within two seconds, or without samples. It never fails the answer that it is added to.
 * 5. Targets carry no secrets: of an address only scheme, host and path.
 */
import type { Event } from "@onedata/contracts";
import { isJsonObject, OneDataError, type PlanSink, parseEventId, type TenantId } from "@onedata/core";
import type { Sql } from "@onedata/store";
import { type EventPlace, readEventPlaces } from "@onedata/store/control";
import type { CatalogueReader } from "../catalogue/catalogue.ts";
import { type Lab, toPlan } from "../lab/lab.ts";
import { shorten } from "../lab/shorten.ts";
import { stepThatWrites } from "../sample/sample.ts";

export type WrittenPorts = { readonly sql: Sql; readonly lab: Lab; readonly catalogue: Pick<CatalogueReader, "read">; readonly log: WarnLog };

type WarnLog = { warn(message: string, fields: Readonly<Record<string, unknown>>): void };
type Written = Event["written"][number];
/** What is needed of an event as it is answered. */
type Shown = { readonly id?: string; readonly pipeline?: string; readonly capturedAt?: Date | undefined };

export type WrittenReader = <T extends Shown>(tenantId: TenantId, event: T, signal: AbortSignal) => Promise<T & { written: Written[] }>;

const MOST_MS = 2_000;
const DELIVERED = 1;
const DEAD = 2;
const MAX_SAMPLE = 5;

export function createWrittenReader(ports: WrittenPorts): WrittenReader {
  return async (tenantId, event, signal) => {
    try {
      return { ...event, written: await readWritten(ports, tenantId, event, AbortSignal.any([signal, AbortSignal.timeout(MOST_MS)])) };
    } catch (error) {
      if (signal.aborted) throw OneDataError.from(error);
      ports.log.warn("where an event went could not be told", { event: event.id, error });
      return { ...event, written: [] };
    }
  };
}

async function readWritten(ports: WrittenPorts, tenantId: TenantId, event: Shown, signal: AbortSignal): Promise<Written[]> {
  const places = await readEventPlaces(ports.sql, tenantId, parseEventId(event.id ?? ""));
  const last = places.at(-1);
  if (last === undefined) return [];
  const sinks = toPlan(last.plan).sinks.map((sink) => ({ sink, place: places.find((place) => hasReached(place, sink.id)) ?? last }));
  const computed = new Map<EventPlace, Promise<Records | undefined>>();
  return Promise.all(
    sinks.map(async ({ sink, place }) => {
      const stored = storedAt(place, sink.id);
      if (stored === undefined && hasReached(place, sink.id) && !computed.has(place))
        computed.set(place, compute(ports, tenantId, { place, event, signal }));
      const again = hasReached(place, sink.id) ? await computed.get(place) : undefined;
      const records = stored ?? again?.get(sink.id) ?? [];
      const state = stateOf(place, sink.id, { hasRecords: records.length > 0, isOnly: sinks.length === 1 && again === undefined });
      return {
        sink: sink.id,
        kind: sink.kind,
        target: describeTarget(sink),
        state,
        count: state === "written" ? records.length : 0,
        sample: records.slice(0, MAX_SAMPLE).map(shorten),
        stored: stored !== undefined,
      };
    }),
  );
}

/** Whether the event went on to this sink: a step's death keeps it from every sink, a sink's only from that one. */
const hasReached = ({ verdict, diedAt }: EventPlace, sink: string): boolean =>
  verdict === DELIVERED || (verdict === DEAD && diedAt.length > 0 && !diedAt.includes("") && !diedAt.includes(sink));

function storedAt(place: EventPlace, sink: string): readonly string[] | undefined {
  const at = toPlan(place.plan).sinks.findIndex(({ id }) => id === sink);
  return place.stored.get(at);
}

/** JSON texts by the id of the sink. */
type Records = ReadonlyMap<string, readonly string[]>;

/** `undefined` when it cannot be known now. */
async function compute(
  { lab, catalogue }: WrittenPorts,
  tenantId: TenantId,
  { place, event, signal }: { readonly place: EventPlace; readonly event: Shown; readonly signal: AbortSignal },
): Promise<Records | undefined> {
  try {
    const plan = toPlan(place.plan);
    if (stepThatWrites([plan], await catalogue.read()) !== undefined) return undefined;
    const stop = new Promise<never>((_, reject) =>
      signal.addEventListener("abort", () => reject(new OneDataError("aborted", "no time left")), { once: true }),
    );
    stop.catch(() => undefined);
    const run = { records: [place.payload], timeUnixMs: event.capturedAt?.getTime() ?? 0, signal };
    const [record] = await Promise.race([lab.runPlan(tenantId, { pipeline: event.pipeline ?? "", plan }, run), stop]);
    if (record === undefined || record.result.kind === "pending") return undefined;
    const bySink = new Map<string, string[]>();
    for (const { sink, json } of record.outputs) {
      const id = plan.sinks[sink]?.id ?? "";
      bySink.set(id, [...(bySink.get(id) ?? []), json]);
    }
    return bySink;
  } catch {
    return undefined;
  }
}

function stateOf(place: EventPlace, sink: string, { hasRecords, isOnly }: { readonly hasRecords: boolean; readonly isOnly: boolean }): string {
  if (hasRecords) return "written";
  if (place.verdict === 0) return "waiting";
  // What was delivered and has one sink went there, whether or not its records can be computed again.
  if (hasReached(place, sink)) return isOnly ? "written" : "unknown";
  return place.verdict === DEAD ? "dead" : "filtered";
}

/** `warehouse: public.orders`, `exports/orders`, `https://hooks.example/orders`. */
function describeTarget({ kind, config, connection }: PlanSink): string {
  const text = (name: string): string => {
    const value = isJsonObject(config) ? config[name] : undefined;
    return typeof value === "string" ? value : "";
  };
  const through = connection === undefined ? "" : `${connection}: `;
  if (text("table") !== "") return `${through}${text("schema") === "" ? "" : `${text("schema")}.`}${text("table")}`;
  if (text("path") !== "") return `${through}${text("path")}`;
  if (text("url") !== "") return `${through}${withoutSecrets(text("url"))}`;
  return connection ?? kind;
}

function withoutSecrets(address: string): string {
  const bare = address.split(/[?#]/)[0] ?? "";
  return bare.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/@]*@/i, "$1");
}
