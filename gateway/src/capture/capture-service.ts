/** `CaptureService` over RPC, on the same writer as the REST route: same checks, same groups, same answers. */
import type { CaptureServiceDefinition } from "@onedata/contracts";
import { formatEventId, OneDataError, type TenantId } from "@onedata/core";
import type { Implementation } from "@onedata/mesh";
import type { Waits } from "../events-wait/waits.ts";
import { type Capture, type CaptureInput, type CaptureResult, NOT_WRITTEN } from "./capture.ts";
import { MAX_WAIT_SECONDS } from "./capture-route.ts";
import { toForeignMediaType } from "./envelope.ts";
import { toTrace } from "./trace-context.ts";

export function createCaptureService(capture: Capture, waits: Waits): Implementation<typeof CaptureServiceDefinition> {
  const captureAll = (tenantId: TenantId, pipeline: string, inputs: readonly CaptureInput[]): Promise<readonly CaptureResult[]> =>
    new Promise((resolve, reject) =>
      capture.capture(tenantId, pipeline, inputs, (error, results) => (error === undefined ? resolve(results) : reject(error)), true),
    );

  return {
    async captureEvent({ pipeline, payload, mediaType, idempotencyKey, waitSeconds }, context) {
      const input = {
        body: Buffer.from(payload, "utf8"),
        mediaType: toForeignMediaType(mediaType),
        idempotencyKey: idempotencyKey || undefined,
        trace: toTrace(context.traceparent),
      };
      const [result] = await captureAll(context.tenantId, pipeline, [input]);
      if (result === undefined || result instanceof OneDataError) throw result ?? new OneDataError("internal", "the writer gave no answer");
      const id = formatEventId(result.id);
      if (waitSeconds === 0) return { id, duplicate: result.duplicate, state: "waiting" };
      const state = await waits.wait(
        context.tenantId,
        { ...result.id, outputsSink: undefined },
        Math.min(waitSeconds, MAX_WAIT_SECONDS) * 1000,
        context.signal,
      );
      return { id, duplicate: result.duplicate, state: state?.state ?? "waiting", verdict: state?.verdict ?? "" };
    },

    async captureEvents({ pipeline, events }, context) {
      const trace = toTrace(context.traceparent);
      const results = await captureAll(
        context.tenantId,
        pipeline,
        events.map(({ payload, idempotencyKey }) => ({
          body: Buffer.from(payload, "utf8"),
          mediaType: undefined,
          idempotencyKey: idempotencyKey || undefined,
          trace,
        })),
      );
      const failed = results.findIndex((result) => result instanceof OneDataError);
      if (failed >= 0) throw withPlaces(results);
      return {
        events: results.flatMap((result) =>
          result instanceof OneDataError ? [] : [{ id: formatEventId(result.id), duplicate: result.duplicate, state: "waiting" }],
        ),
      };
    },
  };
}

/** The first error, with what is wrong with each of the events. */
function withPlaces(results: readonly CaptureResult[]): OneDataError {
  const errors = results.flatMap((result, i) => (result instanceof OneDataError && result !== NOT_WRITTEN ? [{ i, error: result }] : []));
  const first = errors[0];
  if (first === undefined) return new OneDataError("internal", "no error among the results");
  const violations = errors
    .slice(0, 100)
    .flatMap(({ i, error }) =>
      error.violations.length > 0
        ? error.violations.map(({ pointer, code, detail }) => ({ pointer: `/events/${i}/payload${pointer}`, code, detail }))
        : [{ pointer: `/events/${i}/payload`, code: error.code, detail: error.message }],
    );
  return new OneDataError(first.error.code, `event ${first.i} of ${results.length}: ${first.error.message}`, {
    violations,
    cause: first.error,
    ...(first.error.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: first.error.retryAfterSeconds }),
  });
}
