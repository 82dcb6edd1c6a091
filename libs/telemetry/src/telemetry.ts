/**
 * Traces of a process: where its spans go, and how many of those that begin here are kept.
 * Duty: tracers per service name, sampling of new traces, export and its end. Non-duty: which spans there are (who works makes them, with `@opentelemetry/api`).
 * Invariants: without an endpoint the SDK is not even loaded, and there is no tracer to ask; whoever makes spans is never held up by who takes them; what had
 * to be dropped is counted and said.
 */
import type { Telemetry, TelemetryOptions } from "./port.ts";

const OFF: Telemetry = { tracing: () => undefined, figures: { exported: 0, dropped: 0 }, [Symbol.asyncDispose]: () => Promise.resolve() };

/** Disposing exports what waits, for `timeoutMs` at most. */
export async function openTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  if (options.endpoint === undefined) return OFF;
  const { openSdk } = await import("./sdk.ts");
  return openSdk(options, options.endpoint);
}
