/** Traces: contexts, spans that serve several traces, and the export. The SDK is loaded by `openTelemetry` when there is an endpoint. */

export type { Telemetry, TelemetryFigures, TelemetryLimits, TelemetryOptions, Tracing } from "./port.ts";
export { MAX_LINKS, type SharedSpan, startSharedSpan } from "./shared-span.ts";
export { openTelemetry } from "./telemetry.ts";
export {
  contextOf,
  formatTraceparent,
  fromTrace,
  isSampledContext,
  isSampledTrace,
  parseTraceparent,
  TRACE_BYTES,
} from "./trace-context.ts";
