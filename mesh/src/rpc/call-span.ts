/**
 * The spans of a call, one on each side, by the semantic conventions for RPC: name and `rpc.method` are `package.Service/Method`, all but OK is an error.
 * Invariants: only calls in a sampled trace have spans; a call begins no trace. Attributes hold codes, never messages: those may quote what was sent.
 */
import { OneDataError } from "@onedata/core";
import { contextOf, formatTraceparent, isSampledContext, parseTraceparent } from "@onedata/telemetry";
import { type Attributes, SpanKind, SpanStatusCode, type Tracer } from "@opentelemetry/api";

export type CallSpan = {
  /** What the next one in line is told. */
  readonly traceparent: string;
  /** `undefined`: all went well. Once. */
  end(error?: unknown): void;
};

type Start = { readonly tracer: Tracer | undefined; readonly traceparent: string | undefined; readonly path: string };

export const startClientSpan = (start: Start, address: string): CallSpan | undefined =>
  startSpan(start, SpanKind.CLIENT, { "server.address": address });

export const startServerSpan = (start: Start): CallSpan | undefined => startSpan(start, SpanKind.SERVER, {});

/** Also where the bytes stay in the process: contract, codes and deadlines are gRPC's over every transport. */
const SYSTEM = "grpc";

function startSpan({ tracer, traceparent, path }: Start, kind: SpanKind, attributes: Attributes): CallSpan | undefined {
  if (tracer === undefined || traceparent === undefined) return undefined;
  const parent = parseTraceparent(traceparent);
  if (parent === undefined || !isSampledContext(parent)) return undefined;
  const method = path.slice(1);
  const span = tracer.startSpan(method, { kind, attributes: { "rpc.system.name": SYSTEM, "rpc.method": method, ...attributes } }, contextOf(parent));
  return {
    traceparent: formatTraceparent(span.spanContext()),
    end(error) {
      if (error === undefined) span.setAttribute("rpc.response.status_code", "OK");
      else {
        const { code, row } = OneDataError.from(error);
        span.setAttributes({ "rpc.response.status_code": row.grpc, "error.type": code });
        span.setStatus({ code: SpanStatusCode.ERROR });
      }
      span.end();
    },
  };
}

/** The answers of a stream, until they end, fail, or are not wanted any more. */
export async function* withSpan<T>(source: AsyncIterable<T>, span: CallSpan | undefined): AsyncGenerator<T, void, undefined> {
  let error: unknown;
  try {
    yield* source;
  } catch (caught) {
    error = caught;
    throw caught;
  } finally {
    span?.end(error);
  }
}
