/**
 * gRPC statuses ↔ `OneDataError`. The trailer's Problem wins; services of other teams that send none are understood by their status.
 * The one distinction gRPC itself does not make is read from grpc-js' own details: whether a call was ever sent, or lost after it was.
 */
import { status } from "@grpc/grpc-js";
import { type ErrorCode, OneDataError } from "@onedata/core";
import { ClientError, type Metadata } from "nice-grpc";
import { decodeProblem, PROBLEM_TRAILER } from "../../rpc/problem.ts";

/** `what` names the call; `signal` is the call's own, so that our cancellation is not taken for the server's. */
export function toOneDataError(error: unknown, what: string, signal: AbortSignal, trailer: Metadata | undefined): OneDataError {
  if (signal.aborted) return OneDataError.from(signal.reason);
  if (!(error instanceof ClientError)) return OneDataError.from(error);
  const problem = trailer?.get(PROBLEM_TRAILER);
  const answered = problem === undefined ? undefined : decodeProblem(problem);
  if (answered !== undefined) return answered;
  const { code, details } = error;
  const message = `${what}: ${details}`;
  const lost = (code === status.UNAVAILABLE && LOST.test(details)) || (code === status.INTERNAL && BROKEN.test(details));
  const tooLarge = code === status.RESOURCE_EXHAUSTED && TOO_LARGE.test(details);
  return new OneDataError(lost ? "service.lost" : tooLarge ? "request.too_large" : (CODES.get(code) ?? "service.failed"), message, { cause: error });
}

/** What a status without a Problem means; every other one is `service.failed`: the service's fault, not the data's. */
const CODES: ReadonlyMap<number, ErrorCode> = new Map([
  [status.INVALID_ARGUMENT, "request.invalid"],
  [status.OUT_OF_RANGE, "request.invalid"],
  [status.DEADLINE_EXCEEDED, "request.timeout"],
  [status.UNAVAILABLE, "service.unavailable"],
  // Not by us: the server was stopped with the call in flight.
  [status.CANCELLED, "service.lost"],
  [status.UNIMPLEMENTED, "route.not_found"],
  [status.UNAUTHENTICATED, "auth.unauthenticated"],
  [status.PERMISSION_DENIED, "auth.caller_denied"],
  [status.INTERNAL, "internal"],
  [status.UNKNOWN, "internal"],
]);

/** Details of grpc-js (subchannel-call) for a stream that was open when its connection broke; those of failed connects begin with "No connection established". */
const LOST = /^(Connection dropped|(read|write) (ECONN|ETIME|EPIPE)|Write (error|failed)|socket hang up)/;

/** The same, where the connection broke with another error than a reset; "Stream closed" is the server's own refusal of the stream. */
const BROKEN = /triggered by internal client error: (?!Stream closed)/;

/** Details of grpc-js and of other implementations for a message over the receiver's limit. */
const TOO_LARGE = /message larger than max|larger than max|exceeds maximum/i;
