/**
 * `OneDataError` ↔ onedata.error.v1.Problem, the form in which errors cross a process line (gRPC trailer `onedata-problem-bin`).
 * Invariant: text of unknown errors never crosses: `internal` carries a fixed sentence and the id of the log line.
 */
import { errorV1 } from "@onedata/contracts";
import { OneDataError, type OneDataErrorOptions } from "@onedata/core";

export const PROBLEM_TRAILER = "onedata-problem-bin";

/** An error that came from, or is about to go to, another process; `instance` names the log line of an internal one there. */
export class RemoteError extends OneDataError {
  readonly instance: string | undefined;

  constructor(code: OneDataError["code"], message: string, options: OneDataErrorOptions & { readonly instance?: string | undefined } = {}) {
    super(code, message, options);
    this.name = "RemoteError";
    this.instance = options.instance;
  }
}

export function encodeProblem(error: OneDataError): Uint8Array {
  const { errors, retryAfter, ...problem } = error.toProblem(error instanceof RemoteError ? error.instance : undefined);
  return errorV1.Problem.encode(errorV1.Problem.fromPartial({ ...problem, errors: [...(errors ?? [])], retryAfter: retryAfter ?? 0 })).finish();
}

/** Undefined for bytes that are no Problem: another team's service may use the name for its own. */
export function decodeProblem(bytes: Uint8Array): OneDataError | undefined {
  try {
    const { code, detail, errors, retryAfter, instance } = errorV1.Problem.decode(bytes);
    if (code === "") return undefined;
    const base = OneDataError.fromProblem({ code, detail, errors, ...(retryAfter > 0 ? { retryAfter } : {}) });
    return new RemoteError(base.code, base.message, {
      violations: base.violations,
      ...(base.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: base.retryAfterSeconds }),
      ...(instance === "" ? {} : { instance }),
    });
  } catch {
    return undefined;
  }
}
