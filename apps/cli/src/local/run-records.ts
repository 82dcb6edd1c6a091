/**
 * A stream of records through a local pipeline, in batches: memory is bounded by one batch, whatever the input's size.
 * Invariant: results and dead letters come out in the order of the input.
 */
import { type DeadCause, type LabRecord, runInLab } from "@onedata/core";
import type { StreamItem } from "@onedata/formats";
import type { LocalPipeline } from "./pipeline.ts";

export type Casualty = {
  /** dead: a step failed; rejected: it never was an event. */
  readonly kind: "dead" | "rejected";
  readonly line: number;
  readonly step: string;
  readonly code: string;
  readonly message: string;
  /** JSON as it was at that step; of a rejected line, its beginning as text. */
  readonly record: string;
};

export type RunHandlers = {
  /** JSON texts. */
  readonly results: (texts: readonly string[]) => Promise<void>;
  readonly casualty: (casualty: Casualty) => Promise<void>;
  readonly progress?: (totals: RunTotals) => void;
};

export type RunTotals = { read: number; rejected: number; delivered: number; filtered: number; dead: number; results: number };

const BATCH = 250;

export async function runRecords(
  pipeline: LocalPipeline,
  input: AsyncIterable<readonly StreamItem[]>,
  handlers: RunHandlers,
  signal: AbortSignal,
): Promise<RunTotals> {
  const totals: RunTotals = { read: 0, rejected: 0, delivered: 0, filtered: 0, dead: 0, results: 0 };
  const batch: { line: number; text: string }[] = [];
  const flush = async (): Promise<void> => {
    if (batch.length === 0) return;
    const records = await runInLab(
      pipeline.subject,
      batch.map(({ text }) => text),
      Date.now(),
      pipeline.deps,
    );
    for (const [i, record] of records.entries()) await settle(record, batch[i]?.line ?? 0);
    await handlers.results(records.flatMap(({ outputs }) => outputs.map(({ json }) => json)));
    totals.results += records.reduce((sum, { outputs }) => sum + outputs.length, 0);
    batch.length = 0;
    handlers.progress?.(totals);
  };
  const settle = async ({ result }: LabRecord, line: number): Promise<void> => {
    switch (result.kind) {
      case "delivered":
        totals.delivered += 1;
        return;
      case "filtered":
        totals.filtered += 1;
        return;
      case "dead":
        totals.dead += 1;
        for (const cause of result.causes) await handlers.casualty(toCasualty(cause, line));
        return;
      case "pending":
        totals.dead += 1;
        await handlers.casualty({
          kind: "dead",
          line,
          step: "",
          code: "service.failed",
          message: "a step asked for a retry, which a run without a server does not do",
          record: "",
        });
    }
  };
  for await (const items of input) {
    for (const item of items) {
      signal.throwIfAborted();
      totals.read += 1;
      const problem = item.kind === "reject" ? { code: item.code, message: item.message, record: item.excerpt } : refusal(pipeline, item);
      if (problem !== undefined) {
        totals.rejected += 1;
        await handlers.casualty({ kind: "rejected", line: item.line, step: "input", ...problem });
      } else if (item.kind === "record") batch.push({ line: item.line, text: item.text });
      if (batch.length >= BATCH) await flush();
    }
    // What has come is answered before more is waited for: input may be a person, or `tail -f`.
    await flush();
  }
  return totals;
}

function refusal(
  { checkInput }: LocalPipeline,
  { value, text }: Extract<StreamItem, { kind: "record" }>,
): { code: string; message: string; record: string } | undefined {
  const [violation] = checkInput?.(value) ?? [];
  return violation === undefined
    ? undefined
    : { code: "capture.schema_mismatch", message: `does not match the input schema: ${violation.pointer || "/"} ${violation.detail}`, record: text };
}

const decoder = new TextDecoder();

const toCasualty = ({ step, sink, code, message, json }: DeadCause, line: number): Casualty => ({
  kind: "dead",
  line,
  step: step === "" ? sink : step,
  code,
  message,
  record: decoder.decode(json),
});
