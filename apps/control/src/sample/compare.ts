/** What a version makes of an event, and whether two versions make the same of it. Pure. */
import { canonicalJson, type LabRecord, type Plan } from "@onedata/core";
import { parseJson } from "@onedata/formats";

/** `undecided`: a record asked for a retry, or a service is away. */
export type Outcome =
  | { readonly kind: "delivered"; readonly bySink: ReadonlyMap<string, readonly string[]> }
  | { readonly kind: "filtered" }
  | { readonly kind: "dead"; readonly step: string; readonly code: string; readonly message: string }
  | { readonly kind: "undecided"; readonly why: string };

export type Comparison = "same" | "changed" | "dies" | "undecided";

export function toOutcome(plan: Plan, { result, outputs }: LabRecord): Outcome {
  switch (result.kind) {
    case "dead": {
      const [cause] = result.causes;
      return { kind: "dead", step: cause?.step ?? "", code: cause?.code ?? "", message: cause?.message ?? "" };
    }
    case "pending":
      return { kind: "undecided", why: result.fault?.message ?? result.retry?.message ?? "it asks to be tried again" };
    case "filtered":
      return { kind: "filtered" };
    case "delivered": {
      const bySink = new Map<string, string[]>(plan.sinks.map(({ id }) => [id, []]));
      for (const { sink, json } of outputs) bySink.get(plan.sinks[sink]?.id ?? "")?.push(json);
      return { kind: "delivered", bySink };
    }
  }
}

/** The words of a message may change between versions; the code is what tells. */
export function compare(before: Outcome, after: Outcome): Comparison {
  if (before.kind === "undecided" || after.kind === "undecided") return "undecided";
  if (after.kind === "dead" && before.kind !== "dead") return "dies";
  return identity(before) === identity(after) ? "same" : "changed";
}

function identity(outcome: Outcome): string {
  if (outcome.kind === "dead") return `dead ${outcome.code}`;
  if (outcome.kind !== "delivered") return outcome.kind;
  const sinks = [...outcome.bySink].sort(([a], [b]) => (a < b ? -1 : 1));
  return sinks.map(([sink, records]) => `${sink} ${records.map((json) => canonicalJson(parseJson(json))).join("\u001e")}`).join("\u001d");
}

/** As JSON for people: what each sink gets, or why it gets nothing. One sink needs no name. */
export function describe(outcome: Outcome): string {
  switch (outcome.kind) {
    case "dead":
      return JSON.stringify({ dead: { step: outcome.step, code: outcome.code, message: outcome.message } });
    case "undecided":
    case "filtered":
      return JSON.stringify(outcome.kind);
    case "delivered": {
      const texts = [...outcome.bySink].map(
        ([sink, records]) => [sink, records.length === 1 ? (records[0] ?? "null") : `[${records.join(",")}]`] as const,
      );
      const [only] = texts;
      return texts.length === 1 && only !== undefined ? only[1] : `{${texts.map(([sink, text]) => `${JSON.stringify(sink)}:${text}`).join(",")}}`;
    }
  }
}
