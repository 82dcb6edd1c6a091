/** The request's trace context as the event keeps it: 16 bytes trace id, 8 bytes span id, 1 byte flags (W3C Trace Context, level 1). */
import { randomFillSync } from "node:crypto";
import { parseTraceparent, TRACE_BYTES } from "@onedata/telemetry";

const POOL = Buffer.alloc(4096);
let used = POOL.length;

/** The sender's context, or a new one that nobody records: a request that begins a kept trace has its span's context as its sender's (`request-span.ts`). */
export function toTrace(traceparent: string | undefined): Buffer {
  const given = parseTraceparent(traceparent);
  if (given !== undefined) return Buffer.from(`${given.traceId}${given.spanId}${given.traceFlags.toString(16).padStart(2, "0")}`, "hex");
  if (used + TRACE_BYTES > POOL.length) {
    randomFillSync(POOL);
    used = 0;
  }
  // A copy: the pool is refilled while the event still waits for its commit.
  const trace = Buffer.from(POOL.subarray(used, used + TRACE_BYTES));
  used += TRACE_BYTES;
  trace[TRACE_BYTES - 1] = 0;
  return trace;
}
