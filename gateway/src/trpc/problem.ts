/** Errors between us and tRPC. `data.problem` is what REST would have answered; an unknown error is named by an id, under which the log has it. */
import { randomUUID } from "node:crypto";
import { type ErrorCode, OneDataError, type Problem } from "@onedata/core";
import { RemoteError } from "@onedata/mesh";
import { TRPCError } from "@trpc/server";

type Code = TRPCError["code"];

const CODES: Readonly<Record<number, Code>> = {
  400: "BAD_REQUEST",
  401: "UNAUTHORIZED",
  403: "FORBIDDEN",
  404: "NOT_FOUND",
  405: "METHOD_NOT_SUPPORTED",
  409: "CONFLICT",
  410: "NOT_FOUND",
  412: "PRECONDITION_FAILED",
  413: "PAYLOAD_TOO_LARGE",
  415: "UNSUPPORTED_MEDIA_TYPE",
  422: "UNPROCESSABLE_CONTENT",
  429: "TOO_MANY_REQUESTS",
  499: "CLIENT_CLOSED_REQUEST",
  502: "BAD_GATEWAY",
  503: "SERVICE_UNAVAILABLE",
  504: "GATEWAY_TIMEOUT",
};

export function toTrpcError(error: unknown): TRPCError {
  if (error instanceof TRPCError) return error;
  const found = OneDataError.from(error);
  const known =
    found.code === "internal" && !(found instanceof RemoteError)
      ? new RemoteError("internal", found.message, { cause: error, instance: `err_${randomUUID()}` })
      : found;
  return new TRPCError({ code: CODES[known.row.http] ?? "INTERNAL_SERVER_ERROR", message: known.toProblem().detail, cause: known });
}

/** tRPC wraps what a parser throws, twice at worst: the first of ours on the way down counts. */
export function toOneDataError(error: unknown): OneDataError {
  for (let cause: unknown = error, depth = 0; depth < 4; depth++) {
    if (cause instanceof OneDataError) return cause;
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return error instanceof TRPCError ? fromTrpc(error) : OneDataError.from(error);
}

export function toProblem(error: unknown): Problem {
  const known = toOneDataError(error);
  return known.toProblem(known instanceof RemoteError ? known.instance : undefined);
}

/** What tRPC itself refuses: its sentences hold nothing of ours. */
function fromTrpc(error: TRPCError): OneDataError {
  const [code, detail] = REFUSALS[error.code] ?? ["internal", error.message];
  return new OneDataError(code, detail ?? error.message, { cause: error });
}

const NO_INPUT = "the input is not the JSON that tRPC's client sends";
const REFUSALS: { readonly [C in Code]?: readonly [code: ErrorCode, detail?: string] } = {
  NOT_FOUND: ["route.not_found", "no such procedure: the names are in the type AppRouter"],
  METHOD_NOT_SUPPORTED: ["route.method_not_allowed"],
  PARSE_ERROR: ["request.malformed", NO_INPUT],
  BAD_REQUEST: ["request.malformed", NO_INPUT],
  UNSUPPORTED_MEDIA_TYPE: ["request.unsupported_media_type"],
  PAYLOAD_TOO_LARGE: ["request.too_large", "the input is too large for one call"],
  FORBIDDEN: ["auth.scope_missing"],
};
