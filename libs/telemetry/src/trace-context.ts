/**
 * The forms of a trace context (W3C Trace Context, level 1): the header `traceparent`, the 25 bytes that an event keeps (16 trace id, 8 span id, 1 flags), and
 * OpenTelemetry's span context.
 * Invariant: questions that every request and every event are asked (`isSampled…`) allocate nothing.
 */
import { type Context, ROOT_CONTEXT, type SpanContext, TraceFlags, trace } from "@opentelemetry/api";

const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?:-|$)/;
const NO_TRACE = "0".repeat(32);
const NO_SPAN = "0".repeat(16);
export const TRACE_BYTES = 25;

/** Undefined for what is no valid header: then the context is as if there were none. */
export function parseTraceparent(text: string | undefined): SpanContext | undefined {
  if (text === undefined || !TRACEPARENT.test(text)) return undefined;
  const traceId = text.slice(3, 35);
  const spanId = text.slice(36, 52);
  if (traceId === NO_TRACE || spanId === NO_SPAN) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(text.slice(53, 55), 16), isRemote: true };
}

export const formatTraceparent = ({ traceId, spanId, traceFlags }: SpanContext): string =>
  `00-${traceId}-${spanId}-${(traceFlags & TraceFlags.SAMPLED) === 0 ? "00" : "01"}`;

export const isSampledContext = ({ traceFlags }: SpanContext): boolean => (traceFlags & TraceFlags.SAMPLED) !== 0;

export const isSampledTrace = (bytes: Uint8Array | undefined): boolean =>
  bytes !== undefined && bytes.length === TRACE_BYTES && ((bytes[TRACE_BYTES - 1] ?? 0) & TraceFlags.SAMPLED) !== 0;

/** `bytes` are 25. */
export function fromTrace(bytes: Uint8Array): SpanContext {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
  return { traceId: text.slice(0, 32), spanId: text.slice(32, 48), traceFlags: bytes[TRACE_BYTES - 1] ?? 0, isRemote: true };
}

/** What `startSpan` takes as its parent. Explicit: nothing here follows async calls around. */
export const contextOf = (parent: SpanContext | undefined): Context =>
  parent === undefined ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, parent);
