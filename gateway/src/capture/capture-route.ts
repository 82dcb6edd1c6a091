/**
 * `POST /v1/pipelines/{pipeline}/events` on plain node:http: 202 after the commit, 200 with the verdict for `Prefer: wait=<seconds>` (RFC 7240).
 * Written by hand because the generic way costs ten times as much; a conformance test holds it to the contract.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { formatEventId, OneDataError } from "@onedata/core";
import { type Authenticator, demandScopes } from "../auth/authenticator.ts";
import type { Principal } from "../auth/principal.ts";
import type { Waits } from "../events-wait/waits.ts";
import { readBody } from "../http/body.ts";
import { sendProblem } from "../http/problem.ts";
import type { HotHandler, Log } from "../http/seam.ts";
import type { Capture, Captured, CaptureResult } from "./capture.ts";
import { toForeignMediaType } from "./envelope.ts";
import { toTrace } from "./trace-context.ts";

export type CaptureRouteOptions = {
  readonly authenticator: Authenticator;
  readonly capture: Capture;
  readonly waits: Waits;
  readonly maxEventBytes: number;
  readonly log: Log;
};

const SCOPES = ["events:write"];
export const MAX_WAIT_SECONDS = 30;
const MAX_KEY_LENGTH = 255;

export function createCaptureHandler({ authenticator, capture, waits, maxEventBytes, log }: CaptureRouteOptions): HotHandler {
  function begin(request: IncomingMessage, response: ServerResponse, pipeline: string, principal: Principal): void {
    demandScopes(principal, SCOPES);
    const headers = request.headers;
    const idempotencyKey = readIdempotencyKey(headers["idempotency-key"]);
    const traceparent = headers["traceparent"];
    const waitSeconds = headers["prefer"] === undefined ? 0 : readWaitSeconds(headers["prefer"]);
    refuseEncoding(headers["content-encoding"]);
    readBody(request, maxEventBytes, (error, body) => {
      if (error !== undefined) return sendProblem(response, error, log);
      const input = {
        body,
        mediaType: toForeignMediaType(headers["content-type"]),
        idempotencyKey,
        trace: toTrace(typeof traceparent === "string" ? traceparent : undefined),
      };
      capture.capture(principal.tenantId, pipeline, [input], (failure, [result]) => {
        try {
          if (failure !== undefined) sendProblem(response, failure, log);
          else answer(response, principal, result, waitSeconds);
        } catch (unexpected) {
          sendProblem(response, unexpected, log);
        }
      });
    });
  }

  function answer(response: ServerResponse, principal: Principal, result: CaptureResult | undefined, waitSeconds: number): void {
    if (result === undefined || result instanceof OneDataError) {
      sendProblem(response, result ?? new OneDataError("internal", "the writer gave no answer"), log);
      return;
    }
    if (waitSeconds === 0) sendAccepted(response, result);
    else void answerLater(response, principal, result, waitSeconds);
  }

  async function answerLater(response: ServerResponse, principal: Principal, captured: Captured, waitSeconds: number): Promise<void> {
    try {
      const gone = new AbortController();
      response.once("close", () => gone.abort());
      // What an event became is a reader's business; a writer learns the verdict of its own event.
      const outputsSink = principal.scopes.has("events:read") ? captured.pipeline.outputsSink : undefined;
      const state = await waits.wait({ ...captured.id, outputsSink }, waitSeconds * 1000, gone.signal);
      if (state?.state !== "done") return sendAccepted(response, captured);
      const id = formatEventId(captured.id);
      const outputs = outputsSink === undefined || state.verdict !== "delivered" ? "" : `,"outputs":[${state.outputs.join(",")}]`;
      const body = `{"id":"${id}"${captured.duplicate ? ',"duplicate":true' : ""},"state":"done","verdict":"${state.verdict}"${outputs}}`;
      response.writeHead(200, {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(body),
        location: `/v1/events/${id}`,
        "preference-applied": `wait=${waitSeconds}`,
      });
      response.end(body);
    } catch (error) {
      // The event is captured, whatever happened to the wait.
      log.warn("waiting for a verdict failed", { error });
      sendAccepted(response, captured);
    }
  }

  return (request, response, pipeline) => {
    const principal = authenticator.authenticate(request);
    if (principal instanceof Promise) return principal.then((found) => begin(request, response, pipeline, found));
    begin(request, response, pipeline, principal);
    return undefined;
  };
}

function sendAccepted(response: ServerResponse, { id, duplicate }: Captured): void {
  const text = formatEventId(id);
  const body = duplicate ? `{"id":"${text}","duplicate":true}` : `{"id":"${text}"}`;
  response.writeHead(202, { "content-type": "application/json", "content-length": body.length, location: `/v1/events/${text}` });
  response.end(body);
}

export function readIdempotencyKey(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  if (typeof header !== "string" || header === "" || header.length > MAX_KEY_LENGTH) {
    throw new OneDataError("request.invalid", `Idempotency-Key must be one text of 1 to ${MAX_KEY_LENGTH} characters`, {
      violations: [{ pointer: "/idempotencyKey", code: "string.max_len", detail: `at most ${MAX_KEY_LENGTH} characters` }],
    });
  }
  return header;
}

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
