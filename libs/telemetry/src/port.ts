/** What is asked of telemetry and what it gives: no SDK in it. */
import type { Tracer } from "@opentelemetry/api";

export type TelemetryOptions = {
  /** Of the product. */
  readonly version: string;
  /** Base URL of an OTLP/HTTP receiver, e.g. http://collector:4318; undefined = no traces. */
  readonly endpoint: string | undefined;
  /** 0 … 1, of the traces that begin here. Those that callers have begun are kept as they say. */
  readonly sampleRatio: number;
  /** Told when spans were dropped, at most once a minute. */
  readonly onDropped?: (figures: TelemetryFigures) => void;
  readonly limits?: Partial<TelemetryLimits>;
};

export type TelemetryLimits = {
  /** Spans that wait for their export; what comes then is dropped. */
  readonly maxQueue: number;
  readonly maxBatch: number;
  /** How long a span waits for others. */
  readonly delayMs: number;
  /** Of one export, with its retries; and of the last ones, when the process ends. */
  readonly timeoutMs: number;
};

/** Spans since the start. `dropped`: the queue was full, or the receiver did not take them. */
export type TelemetryFigures = { readonly exported: number; readonly dropped: number };

/** What who makes spans is given. */
export interface Tracing {
  readonly tracer: Tracer;
  /** Whether a trace that begins here is kept: asked once per new trace. */
  samples(): boolean;
}

export interface Telemetry extends AsyncDisposable {
  /** Of a service of this process; undefined when nothing is exported. */
  tracing(service: string): Tracing | undefined;
  readonly figures: TelemetryFigures;
}
