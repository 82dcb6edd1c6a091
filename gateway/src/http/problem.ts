/**
 * Every error leaves as problem+json (RFC 9457). Text of unknown errors never leaves: it is logged under an id and the id is sent.
 * 401 and 403 also carry Kong's `error` and `error_description` and its `WWW-Authenticate`, so a client sees the same with and without Kong in front.
 */
import { randomBytes } from "node:crypto";
import type { ServerResponse } from "node:http";
import { OneDataError } from "@onedata/core";
import { RemoteError } from "@onedata/mesh";
import { isConnectionLost } from "@onedata/store";
import type { Log } from "./seam.ts";

export const REALM = "onedata";
export const TOKEN_MISSING = "The access token is missing";
export const TOKEN_INVALID = "The access token is invalid or has expired";

export type ProblemAnswer = { readonly status: number; readonly headers: Readonly<Record<string, string | number>>; readonly body: string };

export function sendProblem(response: ServerResponse, error: unknown, log: Log): void {
  const { status, headers, body } = toProblemAnswer(error, log);
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  response.writeHead(status, headers);
  response.end(body);
  if (!response.req.complete) linger(response);
}

/** `log` is told of what the caller may not see. */
export function toProblemAnswer(error: unknown, log: Log): ProblemAnswer {
  const known = orUnavailable(OneDataError.from(error));
  // The caller learns a number, the log the cause: of what is unknown, and of what failed behind a known answer.
  // What another process failed at is in that process's log already, under the id it gave.
  const remote = known instanceof RemoteError ? known.instance : undefined;
  const isUnknown = known.code === "internal" || (known.row.http >= 500 && known.cause !== undefined);
  const instance = remote ?? (isUnknown ? `err_${randomBytes(8).toString("hex")}` : undefined);
  if (instance !== undefined && remote === undefined) log.error("request failed", { instance, code: known.code, error: known.cause ?? known });
  const problem = known.toProblem(instance);
  const kong = kongFields(known);
  const body = JSON.stringify({ ...problem, ...kong?.body });
  const headers: Record<string, string | number> = {
    "content-type": "application/problem+json",
    "content-length": Buffer.byteLength(body),
  };
  if (kong !== undefined) headers["www-authenticate"] = kong.authenticate;
  if (problem.retryAfter !== undefined) headers["retry-after"] = problem.retryAfter;
  return { status: problem.status, headers, body };
}

/** A database that is away is no fault of ours that nobody can do anything about: it comes back, and the caller may come again. */
function orUnavailable(error: OneDataError): OneDataError {
  if (error.code !== "internal" || !isConnectionLost(error.cause)) return error;
  return new OneDataError("store.unavailable", "the database cannot be reached: try again", { cause: error.cause, retryAfterSeconds: 1 });
}

const LINGER_MS = 2_000;

/**
 * Refused while the body was still coming. Closing at once would reset the connection and take the answer with it, so what comes is thrown away for a
 * while; whoever goes on sending is then cut off.
 */
function linger({ req: request, socket }: ServerResponse): void {
  // Null: the connection is gone already.
  if (socket === null) return;
  const timer = setTimeout(() => {
    if (!request.complete) socket.destroy();
  }, LINGER_MS);
  timer.unref();
  request.once("close", () => clearTimeout(timer));
}

function kongFields(error: OneDataError): { body: { error: string; error_description: string }; authenticate: string } | undefined {
  if (error.code === "auth.unauthenticated") {
    if (error.message === TOKEN_MISSING)
      return { body: { error: "invalid_request", error_description: TOKEN_MISSING }, authenticate: `Bearer realm="${REALM}"` };
    return kongError("invalid_token", TOKEN_INVALID);
  }
  // Kong checks scopes at issuance only and has no answer of its own: RFC 6750, section 3.1, in Kong's shape.
  if (error.code === "auth.scope_missing") return kongError("insufficient_scope", error.message);
  return undefined;
}

const kongError = (code: string, description: string): { body: { error: string; error_description: string }; authenticate: string } => ({
  body: { error: code, error_description: description },
  authenticate: `Bearer realm="${REALM}", error="${code}", error_description="${description.replaceAll('"', "'")}"`,
});
