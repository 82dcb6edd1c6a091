/** What goes with a call besides its message: for whom, Idempotency-Key, trace context, and a signal that fires when the caller goes away. Shared by REST and tRPC. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { OneDataError } from "@onedata/core";
import { type CallOptions, HEADER, type Identity } from "@onedata/mesh";
import type { Principal } from "../auth/principal.ts";

const IDEMPOTENCY_KEY = "idempotency-key";

export function callOptionsOf({ headers }: IncomingMessage, principal: Principal | undefined, signal: AbortSignal): CallOptions {
  const key = headers[IDEMPOTENCY_KEY];
  if (key !== undefined && (typeof key !== "string" || !/^[\x21-\x7e]{1,255}$/.test(key))) {
    throw new OneDataError("request.invalid", "the Idempotency-Key must have 1 to 255 visible ASCII characters: a UUID does well");
  }
  const { traceparent, tracestate } = headers;
  const traced = typeof traceparent === "string" && /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(traceparent);
  return {
    signal,
    metadata: {
      ...(key === undefined ? {} : { [IDEMPOTENCY_KEY]: key }),
      ...(traced && typeof tracestate === "string" && /^[\x20-\x7e]{1,512}$/.test(tracestate) ? { [HEADER.tracestate]: tracestate } : {}),
    },
    ...(principal === undefined ? {} : { identity: identityOf(principal) }),
    ...(traced ? { traceparent } : {}),
  };
}

export const identityOf = ({ tenantId, name, scopes }: Principal): Identity => ({ tenantId, principal: name, scopes: [...scopes] });

/** Fires when the connection closes before the answer is out. */
export function signalOf(response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  if (response.destroyed) controller.abort();
  response.once("close", () => {
    if (!response.writableFinished) controller.abort();
  });
  return controller.signal;
}
