/**
 * The spans of a run: what became of its sampled events, each in its sender's own trace, and the calls that the run made for them.
 *   process <pipeline>   per sampled event, a child of the span that captured it: version, attempt, verdict; an event per call that it was in
 *   run <route>          once: the calls' parent. Of one sampled event it is the `process` span's child; of several it links to their captures and each links to it
 * Invariants: a run without a sampled event makes nothing (`startRunTrace` answers undefined); attributes hold names and codes, never payloads or messages;
 * spans end when the verdicts are committed, or when the run fails.
 */
import { type BatchId, type EventResult, formatEventId, type GroupResult, type RunGroup, type RunServices, toBatchId } from "@onedata/core";
import type { ClaimedRun, CompletedBatch, LoadedEvent } from "@onedata/store";
import { contextOf, formatTraceparent, fromTrace, startSharedSpan } from "@onedata/telemetry";
import { type Attributes, type Span, type SpanContext, SpanKind, SpanStatusCode, type Tracer } from "@opentelemetry/api";
import { type CallNote, callsOf, watchCalls } from "./run-calls.ts";
import type { Place, PlacedGroup } from "./run-groups.ts";
import type { WokenBy } from "./scheduler.ts";

export interface RunTrace extends Disposable {
  /** Of the run's span: what its calls carry. */
  readonly traceparent: string;
  /** The same services; notes the calls. */
  watch(services: RunServices): RunServices;
  /** The same, dead letters with the traces that tell of them. */
  withTraceIds(completed: readonly CompletedBatch[]): readonly CompletedBatch[];
  /** `kept`: batches whose verdicts were committed. */
  end(groups: readonly GroupResult[], kept: ReadonlySet<BatchId>): void;
}

type Sampled = { readonly place: Place; readonly group: number; readonly event: number; readonly captured: SpanContext };
type Traced = Sampled & { readonly span: Span };

export type TracedRun = {
  readonly run: ClaimedRun;
  readonly wokenBy: WokenBy;
  readonly placed: readonly PlacedGroup[];
  readonly events: ReadonlyMap<BatchId, readonly LoadedEvent[]>;
};

export function startRunTrace(tracer: Tracer, { run, wokenBy, placed, events }: TracedRun): RunTrace | undefined {
  const sampled = findSampled(placed, events);
  const [first, ...others] = sampled;
  if (first === undefined) return undefined;
  const startProcess = (one: Sampled, links: readonly SpanContext[]): Traced => ({
    ...one,
    span: tracer.startSpan(
      `process ${placed[one.group]?.group.pipeline}`,
      { kind: SpanKind.CONSUMER, attributes: attributesOf(one, placed[one.group]?.group), links: links.map((context) => ({ context })) },
      contextOf(one.captured),
    ),
  });
  const startRun = (contexts: readonly SpanContext[]): Span =>
    startSharedSpan(tracer, `run ${run.route}`, contexts, {
      kind: SpanKind.INTERNAL,
      attributes: {
        "onedata.run.id": run.runId,
        "onedata.route": run.route,
        "onedata.woken_by": wokenBy,
        "onedata.batches": run.batches.length,
        "messaging.batch.message_count": run.events,
      },
    });
  let traced: Traced[];
  let span: Span;
  if (others.length === 0) {
    const only = startProcess(first, []);
    span = startRun([only.span.spanContext()]);
    traced = [only];
  } else {
    // The events of one request have one context.
    span = startRun([...new Map(sampled.map(({ captured }) => [captured.spanId, captured])).values()]);
    const link = [span.spanContext()];
    traced = sampled.map((one) => startProcess(one, link));
  }
  const calls: CallNote[] = [];
  let isOpen = true;
  return {
    traceparent: formatTraceparent(span.spanContext()),
    watch: (services) => watchCalls(services, calls),
    withTraceIds: (completed) => completed.map((batch) => withTraceIds(batch, sampled)),
    end(groups, kept) {
      isOpen = false;
      for (const one of traced) endProcess(one, { result: groups[one.group]?.events[one.event], group: placed[one.group]?.group, kept, calls });
      span.end();
    },
    [Symbol.dispose]() {
      if (!isOpen) return;
      for (const { span: open } of [...traced, { span }]) open.setStatus({ code: SpanStatusCode.ERROR }).end();
    },
  };
}

function withTraceIds(batch: CompletedBatch, sampled: readonly Sampled[]): CompletedBatch {
  if (batch.deadLetters === undefined || batch.deadLetters.length === 0) return batch;
  const own = new Map(
    sampled.flatMap(({ place, captured }) => (place.batch.batchId === batch.batchId ? [[place.n, captured.traceId] as const] : [])),
  );
  const deadLetters = batch.deadLetters.map((letter) => {
    const traceId = own.get(letter.n);
    return traceId === undefined ? letter : { ...letter, traceId: Buffer.from(traceId, "hex") };
  });
  return { ...batch, deadLetters };
}

function findSampled(placed: readonly PlacedGroup[], events: TracedRun["events"]): Sampled[] {
  const traces = new Map<BatchId, Map<number, Buffer>>();
  for (const [batchId, own] of events) {
    for (const { n, trace } of own) {
      if (trace === undefined) continue;
      const known = traces.get(batchId);
      if (known === undefined) traces.set(batchId, new Map([[n, trace]]));
      else known.set(n, trace);
    }
  }
  if (traces.size === 0) return [];
  return placed.flatMap(({ places }, group) =>
    places.flatMap((place, event) => {
      const trace = traces.get(place.batch.batchId)?.get(place.n);
      return trace === undefined ? [] : [{ place, group, event, captured: fromTrace(trace) }];
    }),
  );
}

/** By the semantic conventions for messaging: the database is the queue, a pipeline is the destination. */
function attributesOf({ place: { batch, n }, event }: Sampled, group: RunGroup | undefined): Attributes {
  const source = group?.events[event]?.source;
  return {
    "messaging.system": "onedata",
    "messaging.operation.name": "process",
    "messaging.operation.type": "process",
    "messaging.destination.name": group?.pipeline ?? "",
    // Of a replay: the event that is replayed.
    "messaging.message.id": formatEventId(source === undefined ? { batchId: batch.batchId, n } : { batchId: toBatchId(source.batchId), n: source.n }),
    "onedata.tenant": String(batch.tenantId),
    "onedata.version": batch.version,
    "onedata.attempt": batch.attempt,
    ...(batch.kind === "capture" ? {} : { "onedata.kind": batch.kind }),
  };
}

type Ended = {
  readonly result: EventResult | undefined;
  readonly group: RunGroup | undefined;
  readonly kept: ReadonlySet<BatchId>;
  readonly calls: readonly CallNote[];
};

function endProcess({ span, place }: Traced, { result, group, kept, calls }: Ended): void {
  for (const { name, startedMs, attributes } of group === undefined ? [] : callsOf(calls, group, result)) span.addEvent(name, attributes, startedMs);
  const code = codeOf(result);
  if (code !== undefined) span.setAttribute("error.type", code);
  if (result !== undefined && result.kind !== "pending") {
    // Another engine's verdict counts where the fence refused this one.
    span.setAttribute(kept.has(place.batch.batchId) ? "onedata.verdict" : "onedata.verdict.refused", result.kind);
    if (result.kind === "filtered") span.setAttribute("onedata.step", result.step);
  }
  if (result?.kind === "dead") {
    const [cause] = result.causes;
    span.setAttribute(cause?.sink === "" ? "onedata.step" : "onedata.sink", cause?.sink === "" ? cause.step : (cause?.sink ?? ""));
    span.setStatus({ code: SpanStatusCode.ERROR });
  }
  span.end();
}

function codeOf(result: EventResult | undefined): string | undefined {
  if (result?.kind === "dead") return result.causes[0]?.code;
  return result?.kind === "pending" ? (result.fault?.code ?? result.retry?.code) : undefined;
}
