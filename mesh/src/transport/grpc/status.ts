/**
 * gRPC statuses ↔ `OneDataError`. The trailer's Problem wins; services of other teams that send none are understood by their status.
 * The one distinction gRPC itself does not make is read from grpc-js' own details: whether a call was ever sent, or lost after it was.
 */
import { status } from "@grpc/grpc-js";
import { OneDataError } from "@onedata/core";
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
  switch (code) {
    case status.INVALID_ARGUMENT:
    case status.OUT_OF_RANGE:
      return new OneDataError("request.invalid", message, { cause: error });
    case status.DEADLINE_EXCEEDED:
      return new OneDataError("request.timeout", message, { cause: error });
    case status.UNAVAILABLE:
      return new OneDataError(LOST.test(details) ? "service.lost" : "service.unavailable", message, { cause: error });
    case status.CANCELLED:
      // Not by us: the server was stopped with the call in flight.
      return new OneDataError("service.lost", message, { cause: error });
    case status.RESOURCE_EXHAUSTED:
      return new OneDataError(TOO_LARGE.test(details) ? "request.too_large" : "service.failed", message, { cause: error });
    case status.UNIMPLEMENTED:
      return new OneDataError("route.not_found", message, { cause: error });
    case status.UNAUTHENTICATED:
      return new OneDataError("auth.unauthenticated", message, { cause: error });
    case status.PERMISSION_DENIED:
      return new OneDataError("auth.caller_denied", message, { cause: error });
    case status.INTERNAL:
    case status.UNKNOWN:
      return new OneDataError("internal", message, { cause: error });
    default:
      return new OneDataError("service.failed", message, { cause: error });
  }
}

/** Details of grpc-js (subchannel-call) for a stream that was open when its connection broke. */
const LOST = /^Connection dropped|ECONNRESET|ETIMEDOUT|EPIPE|^Write (error|failed)|^Call ended without gRPC status|Call ended without gRPC status/;

/** Details of grpc-js and of other implementations for a message over the receiver's limit. */
const TOO_LARGE = /message larger than max|larger than max|exceeds maximum/i;
