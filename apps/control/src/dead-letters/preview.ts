/**
 * What a spec or a version would make of the events behind dead letters. The executor is the engine's own; nothing is written.
 *
 * Invariants: it takes 25 seconds at most, and what was not decided by then is skipped; a service that is down skips, and kills nothing; an event that a sink
 * refused, and that would get the same record again, is skipped: sinks are not asked.
 */
import type { DeadLetterPreview, PreviewDeadLettersResponse } from "@onedata/contracts";
import { canonicalJson, formatEventId, type LabRecord, OneDataError, type TenantId } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import { compileSchema, type SchemaCheck } from "@onedata/operations";
import type { LetterSource } from "@onedata/store/control";
import { type Lab, refuseWrites } from "../lab/lab.ts";
import { shorten } from "../lab/shorten.ts";
import type { CheckedSpec } from "../spec/check-spec.ts";

const MOST_MS = 25_000;
const AT_ONCE = 4;
const EXAMPLES_PER_VERDICT = 3;

type Verdict = "delivered" | "filtered" | "dead" | "skipped";
type Tried = {
  readonly source: LetterSource;
  readonly verdict: Verdict;
  readonly outputs: readonly string[];
  readonly code: string;
  readonly message: string;
};

export type Preview = {
  readonly checked: CheckedSpec;
  readonly matching: number;
  readonly sources: readonly LetterSource[];
  readonly signal: AbortSignal;
};

export async function previewDeadLetters(
  lab: Lab,
  tenantId: TenantId,
  { checked, matching, sources, signal }: Preview,
): Promise<PreviewDeadLettersResponse> {
  const tried = await tryAll(lab, tenantId, { checked, sources, signal });
  const count = (verdict: Verdict): number => tried.filter((one) => one.verdict === verdict).length;
  const verdicts = ["delivered", "filtered", "dead", "skipped"] as const;
  return {
    matching,
    delivered: count("delivered"),
    filtered: count("filtered"),
    dead: count("dead"),
    skipped: count("skipped"),
    examples: verdicts.flatMap((verdict) =>
      tried
        .filter((one) => one.verdict === verdict)
        .slice(0, EXAMPLES_PER_VERDICT)
        .map(toExample),
    ),
  };
}

const toExample = ({ source, verdict, outputs, code, message }: Tried): DeadLetterPreview => ({
  event: formatEventId(source.event),
  verdict,
  input: shorten(source.payload),
  outputs: outputs.slice(0, 10).map(shorten),
  code,
  message,
});

async function tryAll(lab: Lab, tenantId: TenantId, { checked, sources, signal }: Omit<Preview, "matching">): Promise<Tried[]> {
  const skip = (source: LetterSource, message: string): Tried => ({ source, verdict: "skipped", outputs: [], code: "", message });
  const [writes] = refuseWrites(checked.spec, checked.catalogue);
  if (writes !== undefined) return sources.map((source) => skip(source, writes.detail));
  const check = checked.plan.inputSchema === undefined ? undefined : compileSchema(checked.plan.inputSchema);
  const deadline = AbortSignal.timeout(MOST_MS);
  const until = AbortSignal.any([signal, deadline]);
  const results = new Map<LetterSource, Tried>();
  // A run has one time, and `$now()` is the time of capture: events of one batch share it.
  const byTime = new Map<number, LetterSource[]>();
  for (const source of sources) byTime.set(source.capturedAt.getTime(), [...(byTime.get(source.capturedAt.getTime()) ?? []), source]);
  const groups = [...byTime];
  let down: string | undefined;
  const worker = async (): Promise<void> => {
    for (let group = groups.pop(); group !== undefined; group = groups.pop()) {
      const [timeUnixMs, own] = group;
      const valid = own.filter((source) => {
        const problem = check === undefined ? undefined : problemOf(check, source.payload);
        if (problem !== undefined) results.set(source, { source, verdict: "dead", outputs: [], code: "input.invalid", message: problem });
        return problem === undefined;
      });
      if (down !== undefined || until.aborted || valid.length === 0) continue;
      try {
        const records = await untilAborted(
          lab.run(tenantId, checked, { records: valid.map(({ payload }) => payload), timeUnixMs, signal: until }),
          until,
        );
        for (const [i, source] of valid.entries()) {
          const record = records[i];
          if (record !== undefined) results.set(source, toTried(checked, source, record));
        }
      } catch (error) {
        if (signal.aborted) throw OneDataError.from(error);
        if (!deadline.aborted) down = OneDataError.from(error).message;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  const why = down ?? `there were ${MOST_MS / 1000} seconds for it`;
  return sources.map((source) => results.get(source) ?? skip(source, why));
}

function toTried({ plan }: CheckedSpec, source: LetterSource, { result, outputs }: LabRecord): Tried {
  const none = { source, outputs: [], code: "", message: "" };
  switch (result.kind) {
    case "filtered":
      return { ...none, verdict: "filtered" };
    case "pending":
      return { ...none, verdict: "skipped", message: result.fault?.message ?? result.retry?.message ?? "it asks to be tried again" };
    case "dead": {
      const [cause] = result.causes;
      return {
        ...none,
        verdict: "dead",
        code: cause?.code ?? "",
        message: cause === undefined ? "" : `${cause.step === "" ? cause.sink : cause.step}: ${cause.message}`,
      };
    }
    case "delivered": {
      const texts = outputs.map(({ json }) => json);
      const again = source.refused.find((refusal) =>
        outputs.some(({ sink, json }) => plan.sinks[sink]?.id === refusal.sink && isSame(json, refusal.payload)),
      );
      if (again === undefined) return { ...none, verdict: "delivered", outputs: texts };
      return {
        ...none,
        verdict: "skipped",
        outputs: texts,
        message: `the sink ${again.sink} would get the record again that it refused: ${again.code}: ${again.message}`,
      };
    }
  }
}

function isSame(a: string, b: string): boolean {
  if (a === b) return true;
  try {
    return canonicalJson(parseJson(a)) === canonicalJson(parseJson(b));
  } catch {
    return false;
  }
}

/** Undefined when it matches. */
export function problemOf(check: SchemaCheck, payload: string): string | undefined {
  const [first, ...more] = check(parseJson(payload));
  if (first === undefined) return undefined;
  return `${first.pointer === "" ? "" : `${first.pointer}: `}${first.detail}${more.length === 0 ? "" : `; and ${more.length} more`}`;
}

/** Nobody waits for a service that does not hear of the abort. */
function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(new OneDataError("aborted", "there was no time left"));
    if (signal.aborted) return stop();
    signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
