/**
 * Before a version takes over: what it makes of the events captured last, against what the active one makes of them now.
 *
 * Invariants:
 * 1. Nothing is written, and nothing that writes is called: a plan with a step that has effects is not tried.
 * 2. It fails no apply and takes five seconds at most: what could not be compared in time, or for the sake of a service, is counted as skipped.
 * 3. Content of events is shown to those only who may read events; others get the counts.
 */
import type { Sample } from "@onedata/contracts";
import { type Catalogue, formatEventId, OneDataError, type Plan, type TenantId, type Violation } from "@onedata/core";
import type { Sql } from "@onedata/store";
import { type LastEvent, readLastEvents } from "@onedata/store/control";
import type { CatalogueReader } from "../catalogue/catalogue.ts";
import type { Lab } from "../lab/lab.ts";
import { shorten } from "../lab/shorten.ts";
import { compare, describe, type Outcome, toOutcome } from "./compare.ts";

export type SamplePorts = { readonly sql: Sql; readonly lab: Lab; readonly catalogue: Pick<CatalogueReader, "read"> };

export type SampleRequest = {
  readonly pipeline: string;
  readonly before: Plan;
  readonly after: Plan;
  readonly mayReadEvents: boolean;
  readonly signal: AbortSignal;
};

export type SampleResult = {
  readonly sample: Sample;
  /** Of the first event that would die. */
  readonly firstDeath: (Outcome & { readonly kind: "dead" }) | undefined;
};

const EVENTS = 200;
const EVENTS_PER_CALL = 40;
const MOST_MS = 5_000;
/** For reading the events and answering. */
const SPARE_MS = 500;

/** `undefined` = nothing was captured yet. Never throws but for an abort of the caller. */
export async function sampleVersions(ports: SamplePorts, tenantId: TenantId, request: SampleRequest): Promise<SampleResult | undefined> {
  const { pipeline, before, after } = request;
  const deadline = AbortSignal.timeout(MOST_MS - SPARE_MS);
  const signal = AbortSignal.any([request.signal, deadline]);
  let events: readonly LastEvent[];
  try {
    events = await readLastEvents(ports.sql, tenantId, pipeline, EVENTS);
  } catch {
    return undefined;
  }
  if (events.length === 0) return undefined;
  const tally = new Tally(request.mayReadEvents);
  const writes = stepThatWrites([before, after], await ports.catalogue.read());
  if (writes !== undefined) return tally.end(events.length, `${writes} writes, so it is not tried`);
  const timeUnixMs = Date.now();
  let why = "";
  for (let at = 0; at < events.length && why === ""; at += EVENTS_PER_CALL) {
    const chunk = events.slice(at, at + EVENTS_PER_CALL);
    const run = async (plan: Plan): Promise<Outcome[]> => {
      const records = await ports.lab.runPlan(tenantId, { pipeline, plan }, { records: chunk.map(({ payload }) => payload), timeUnixMs, signal });
      return records.map((record) => toOutcome(plan, record));
    };
    try {
      const [old, fresh] = await untilAborted(Promise.all([run(before), run(after)]), signal);
      chunk.forEach((event, i) => tally.add(event, old[i], fresh[i]));
    } catch (error) {
      if (request.signal.aborted) throw OneDataError.from(error);
      why = deadline.aborted ? `there were ${MOST_MS / 1000} seconds for it` : OneDataError.from(error).message;
    }
  }
  return tally.end(events.length, why);
}

/** Nobody waits for a service that does not hear of the abort. */
function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(new OneDataError("aborted", "there was no time left"));
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/** Names the first step with effects, if there is one. */
export function stepThatWrites(plans: readonly Plan[], catalogue: Catalogue): string | undefined {
  const steps = plans.flatMap(({ stages }) => stages.flatMap((stage) => stage.steps));
  const found = steps.find(({ operation }) => catalogue.get(operation)?.description.effects === "write");
  return found === undefined ? undefined : `the step ${JSON.stringify(found.id)} (${found.operation})`;
}

/** Also the 409 for a version that kills, unless it was forced. */
export function refuseDeaths(pipeline: string, { sample, firstDeath }: SampleResult, mayReadEvents: boolean): OneDataError | undefined {
  if (sample.dead === 0) return undefined;
  const total = sample.same + sample.changed + sample.dead + sample.skipped;
  const where =
    firstDeath === undefined ? "" : ` in ${JSON.stringify(firstDeath.step)}: ${firstDeath.code}${mayReadEvents ? `: ${firstDeath.message}` : ""}`;
  const violation: Violation = {
    pointer: "",
    code: "spec.would_kill",
    detail: `${sample.dead} of the last ${total} events would die and do not now; the first${where}`,
  };
  return new OneDataError(
    "pipeline.would_kill",
    `the new version of ${JSON.stringify(pipeline)} lets ${sample.dead} of the last ${total} events die; the first${where}. Mend it, or apply it with force=true`,
    { violations: [violation] },
  );
}

type MutableSample = { -readonly [K in keyof Sample]: Sample[K] };

class Tally {
  readonly #mayReadEvents: boolean;
  readonly #sample: MutableSample = { same: 0, changed: 0, dead: 0, skipped: 0, firstDiff: undefined, skippedBecause: "" };
  #firstDeath: SampleResult["firstDeath"];

  constructor(mayReadEvents: boolean) {
    this.#mayReadEvents = mayReadEvents;
  }

  add(event: LastEvent, before: Outcome | undefined, after: Outcome | undefined): void {
    if (before === undefined || after === undefined) return;
    const comparison = compare(before, after);
    if (comparison === "undecided") {
      const undecided = after.kind === "undecided" ? after : before;
      if (undecided.kind === "undecided" && this.#sample.skippedBecause === "") this.#sample.skippedBecause = undecided.why;
      return;
    }
    if (comparison === "same") {
      this.#sample.same += 1;
      return;
    }
    const isFirstDeath = comparison === "dies" && this.#sample.dead === 0;
    this.#sample[comparison === "dies" ? "dead" : "changed"] += 1;
    if (isFirstDeath && after.kind === "dead") this.#firstDeath = after;
    // A death is worth more than a change.
    if (this.#mayReadEvents && (this.#sample.firstDiff === undefined || isFirstDeath))
      this.#sample.firstDiff = {
        event: formatEventId(event.id),
        input: shorten(event.payload),
        before: shorten(describe(before)),
        after: shorten(describe(after)),
      };
  }

  end(total: number, why: string): SampleResult {
    const { same, changed, dead } = this.#sample;
    const skipped = total - same - changed - dead;
    return {
      sample: { ...this.#sample, skipped, skippedBecause: skipped === 0 ? "" : why === "" ? this.#sample.skippedBecause : why },
      firstDeath: this.#firstDeath,
    };
  }
}
