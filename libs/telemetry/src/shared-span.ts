/**
 * A span of work that is done for several traces at once: a group commit, a run.
 * With one of them sampled it is that trace's child, so that the whole way is in one trace; with several it begins a trace of its own that links to them.
 */
import type { Attributes, Span, SpanContext, SpanKind, Tracer } from "@opentelemetry/api";
import { contextOf } from "./trace-context.ts";

/** What a span links to at most: a run has up to 500 events, and each of them links to the run itself. */
export const MAX_LINKS = 32;

export type SharedSpan = {
  readonly kind: SpanKind;
  readonly attributes: Attributes;
  /** Of the traces; more than there are contexts where some were left out. */
  readonly traces?: number;
};

/** `contexts`: the sampled ones, at least one; more than `MAX_LINKS` are of no use. */
export function startSharedSpan(
  tracer: Tracer,
  name: string,
  contexts: readonly SpanContext[],
  { kind, attributes, traces = contexts.length }: SharedSpan,
): Span {
  const [only, ...others] = contexts;
  if (others.length === 0) return tracer.startSpan(name, { kind, attributes }, contextOf(only));
  const links = contexts.slice(0, MAX_LINKS).map((context) => ({ context }));
  return tracer.startSpan(name, { kind, attributes: { ...attributes, "onedata.traces": traces }, links, root: true }, contextOf(undefined));
}
