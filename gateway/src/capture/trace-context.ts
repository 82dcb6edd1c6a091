/** The request's trace context as the event keeps it: 16 bytes trace id, 8 bytes span id, 1 byte flags (W3C Trace Context, level 1). */
import { randomFillSync } from "node:crypto";

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-|$)/;
const TRACE_BYTES = 25;
const POOL = Buffer.alloc(4096);
let used = POOL.length;

/** The sender's context, or a new one with the sampled flag, so that the tail decides what is kept. */
export function toTrace(traceparent: string | undefined): Buffer {
  if (traceparent !== undefined) {
    const match = TRACEPARENT.exec(traceparent);
    if (match !== null && match[1] !== "ff" && !/^0+$/.test(match[2] ?? "") && !/^0+$/.test(match[3] ?? "")) {
      return Buffer.from(`${match[2]}${match[3]}${match[4]}`, "hex");
    }
  }
  if (used + TRACE_BYTES > POOL.length) {
    randomFillSync(POOL);
    used = 0;
  }
  // A copy: the pool is refilled while the event still waits for its commit.
  const trace = Buffer.from(POOL.subarray(used, used + TRACE_BYTES));
  used += TRACE_BYTES;
  trace[TRACE_BYTES - 1] = 1;
  return trace;
}
