/**
 * `POST /v1/pipelines/{pipeline}/events`, written by hand: 202 after the commit, 200 with the verdict for `Prefer: wait=<seconds>` (RFC 7240).
 * The generic way costs ten times as much. Non-duty: reading the socket (`http/`). A conformance test holds it to the contract.
 */
import { formatEventId, OneDataError } from "@onedata/core";
import { type Authenticator, demandScopes } from "../auth/authenticator.ts";
import type { Principal } from "../auth/principal.ts";
import type { Waits } from "../events-wait/waits.ts";
import type { OnBody } from "../http/body.ts";
import type { Exchange } from "../http/exchange.ts";
import { readQuery } from "../http/query.ts";
import type { CaptureHandler, Log } from "../http/seam.ts";
import type { Share } from "../shares/share.ts";
import { REQUEST_BYTES } from "../shares/shares.ts";
import type { Capture, Captured, CaptureResult } from "./capture.ts";
import { toForeignMediaType } from "./envelope.ts";
import { toTrace } from "./trace-context.ts";

export type CaptureRouteOptions = {
  readonly authenticator: Authenticator;
  readonly capture: Capture;
  readonly waits: Waits;
  /** Bytes of requests in flight. */
  readonly requests: Share;
  readonly maxEventBytes: number;
  readonly log: Log;
};

const SCOPES = ["events:write"];
export const MAX_WAIT_SECONDS = 30;
const MAX_KEY_LENGTH = 255;

export function createCaptureHandler({ authenticator, capture, waits, requests, maxEventBytes, log }: CaptureRouteOptions): CaptureHandler {
  function begin(exchange: Exchange, pipeline: string, principal: Principal): void {
    demandScopes(principal, SCOPES);
    // Almost never there: looked for before it is read.
    if (exchange.url.includes("?")) readQuery(exchange.url, []);
    const { headers } = exchange;
    const idempotencyKey = readIdempotencyKey(headers["idempotency-key"]);
    const mediaType = toForeignMediaType(headers["content-type"]);
    const traceparent = headers["traceparent"];
    const waitSeconds = headers["prefer"] === undefined ? 0 : readWaitSeconds(headers["prefer"]);
    refuseEncoding(headers["content-encoding"]);
    const tenantId = principal.tenantId;
    // The sender has gone while it was looked up.
    if (exchange.isGone) return;
    requests.take(tenantId, REQUEST_BYTES);
    let held = REQUEST_BYTES;
    // Not before the answer has left: whoever does not read it goes on holding its share.
    exchange.onClose(() => requests.give(tenantId, held));
    const grow = (bytes: number): void => {
      requests.take(tenantId, bytes);
      held += bytes;
    };
    const onBody: OnBody = (error, body) => {
      if (error !== undefined) return exchange.fail(error);
      const input = {
        body,
        mediaType,
        idempotencyKey,
        trace: toTrace(typeof traceparent === "string" ? traceparent : undefined),
      };
      capture.capture(tenantId, pipeline, [input], (failure, [result]) => {
        try {
          if (failure !== undefined) exchange.fail(failure);
          else answer(exchange, principal, result, waitSeconds);
        } catch (unexpected) {
          exchange.fail(unexpected);
        }
      });
    };
    exchange.readBody(maxEventBytes, onBody, grow);
  }

  function answer(exchange: Exchange, principal: Principal, result: CaptureResult | undefined, waitSeconds: number): void {
    if (result === undefined || result instanceof OneDataError) {
      exchange.fail(result ?? new OneDataError("internal", "the writer gave no answer"));
      return;
    }
    if (waitSeconds === 0) sendAccepted(exchange, result);
    else void answerLater(exchange, principal, result, waitSeconds);
  }

  async function answerLater(exchange: Exchange, principal: Principal, captured: Captured, waitSeconds: number): Promise<void> {
    try {
      const gone = new AbortController();
      exchange.onClose(() => gone.abort());
      // What an event became is a reader's business; a writer learns the verdict of its own event.
      const outputsSink = principal.scopes.has("events:read") ? captured.pipeline.outputsSink : undefined;
      const state = await waits.wait(principal.tenantId, { ...captured.id, outputsSink }, waitSeconds * 1000, gone.signal);
      if (state?.state !== "done") return sendAccepted(exchange, captured);
      const id = formatEventId(captured.id);
      const outputs = outputsSink === undefined || state.verdict !== "delivered" ? "" : `,"outputs":[${state.outputs.join(",")}]`;
      const body = `{"id":"${id}"${captured.duplicate ? ',"duplicate":true' : ""},"state":"done","verdict":"${state.verdict}"${outputs}}`;
      const headers = {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(body),
        location: `/v1/events/${id}`,
        "preference-applied": `wait=${waitSeconds}`,
      };
      exchange.send(200, headers, body);
    } catch (error) {
      // The event is captured, whatever happened to the wait.
      log.warn("waiting for a verdict failed", { error });
      sendAccepted(exchange, captured);
    }
  }

  return (exchange, pipeline) => {
    const principal = authenticator.authenticate(exchange);
    if (principal instanceof Promise) return principal.then((found) => begin(exchange, pipeline, found));
    begin(exchange, pipeline, principal);
    return undefined;
  };
}

function sendAccepted(exchange: Exchange, { id, duplicate }: Captured): void {
  const text = formatEventId(id);
  const body = duplicate ? `{"id":"${text}","duplicate":true}` : `{"id":"${text}"}`;
  exchange.send(202, { "content-type": "application/json", "content-length": body.length, location: `/v1/events/${text}` }, body);
}

export function readIdempotencyKey(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  if (header === "") throw invalidKey("string.min_len", "is empty: give a text of your own for this event, or leave the header out");
  if (typeof header !== "string") throw repeatedKey();
  if (header.length > MAX_KEY_LENGTH)
    throw invalidKey("string.max_len", `has ${header.length} characters: at most ${MAX_KEY_LENGTH} are taken; send a hash of it`);
  return header;
}

const invalidKey = (code: string, detail: string): OneDataError =>
  new OneDataError("request.invalid", `Idempotency-Key ${detail}`, { violations: [{ pointer: "/idempotencyKey", code, detail }] });

/** Two keys joined would be a third one. */
export const repeatedKey = (): OneDataError => invalidKey("duplicate", "is given more than once: give it once");

/** Preferences that are not understood are ignored (RFC 7240); a longer wait is cut to what is allowed. */
export function readWaitSeconds(header: string | string[]): number {
  const match = /(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?(?:$|[,;\s])/i.exec(typeof header === "string" ? header : header.join(","));
  return match === null ? 0 : Math.min(Number(match[1]), MAX_WAIT_SECONDS);
}

function refuseEncoding(encoding: string | undefined): void {
  if (encoding !== undefined && encoding !== "identity" && encoding !== "") {
    throw new OneDataError(
      "request.unsupported_media_type",
      `Content-Encoding ${encoding.slice(0, 40)} is not taken for single events: send them plain, or send an import`,
    );
  }
}
