/** Runs one event again, as it was or with another payload, which is held to the same rules as a captured one. */
import type { eventV1 } from "@onedata/contracts";
import { OneDataError, parseEventId } from "@onedata/core";
import { locateJsonError, parseJson } from "@onedata/formats";
import type { CallContext } from "@onedata/mesh";
import { compileSchema } from "@onedata/operations";
import type { Sql } from "@onedata/store";
import { getEvent, getVersion, type JobRow, startEventReplay } from "@onedata/store/control";
import { toPlan } from "../lab/lab.ts";
import { storable, toActor } from "../services/call.ts";

const MAX_EVENT_BYTES = 256 * 1024;

export async function replayEvent(sql: Sql, { event, payload, version, reason }: eventV1.ReplayEventRequest, context: CallContext): Promise<JobRow> {
  const { tenantId } = context;
  const id = parseEventId(event);
  if (payload !== "") {
    checkText(payload);
    const { pipeline } = await getEvent(sql, tenantId, id);
    const { plan } = await getVersion(sql, tenantId, pipeline, version);
    const { inputSchema } = toPlan(plan);
    if (inputSchema !== undefined) {
      const violations = compileSchema(inputSchema)(parseJson(payload));
      if (violations.length > 0)
        throw new OneDataError("capture.schema_mismatch", `the payload does not match the input schema of ${JSON.stringify(pipeline)}`, {
          violations,
        });
    }
  }
  return startEventReplay(sql, tenantId, toActor(context), {
    event: id,
    payload: payload === "" ? undefined : payload,
    version,
    reason: storable(reason),
  });
}

function checkText(payload: string): void {
  const bytes = Buffer.byteLength(payload);
  if (bytes > MAX_EVENT_BYTES) throw new OneDataError("request.too_large", `the payload has ${bytes} bytes; an event has at most ${MAX_EVENT_BYTES}`);
  const error = locateJsonError(payload);
  if (error !== undefined) throw new OneDataError("capture.json_malformed", `the payload is not valid JSON: ${error.message}`);
}
