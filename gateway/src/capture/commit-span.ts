/**
 * The span of a group commit: one for all the requests in it, in the trace of the sampled one or, with several, linked to each.
 * Invariant: a group without a sampled event costs a look at each event's flags.
 */

import type { CaptureOutcome, CaptureRequest } from "@onedata/store";
import { fromTrace, isSampledTrace, MAX_LINKS, startSharedSpan } from "@onedata/telemetry";
import { type SpanContext, SpanKind, SpanStatusCode, type Tracer } from "@opentelemetry/api";

type Commit = (requests: readonly CaptureRequest[]) => Promise<CaptureOutcome[][]>;

export function traceCommits(tracer: Tracer | undefined, commit: Commit): Commit {
  if (tracer === undefined) return commit;
  return async (requests) => {
    const { contexts, traces } = sampledOf(requests);
    if (traces === 0) return await commit(requests);
    const events = requests.reduce((sum, request) => sum + request.events.length, 0);
    const span = startSharedSpan(tracer, "commit events", contexts, {
      kind: SpanKind.CLIENT,
      attributes: { "db.system.name": "postgresql", "db.operation.batch.size": events, "onedata.requests": requests.length },
      traces,
    });
    try {
      return await commit(requests);
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  };
}

/** One of each request (its events have one context), as many as a span links to; and of how many there are. */
function sampledOf(requests: readonly CaptureRequest[]): { readonly contexts: readonly SpanContext[]; readonly traces: number } {
  const contexts: SpanContext[] = [];
  let traces = 0;
  for (const { events } of requests) {
    const trace = events[0]?.trace;
    if (trace === undefined || !isSampledTrace(trace)) continue;
    traces += 1;
    if (contexts.length < MAX_LINKS) contexts.push(fromTrace(trace));
  }
  return { contexts, traces };
}
