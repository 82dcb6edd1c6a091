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

/** At most `MAX_PROBLEM_BYTES`: violations that do not fit are left out, and the detail says how many. */
export function encodeProblem(error: OneDataError): Uint8Array {
  const { errors = [], retryAfter, detail, ...problem } = error.toProblem(error instanceof RemoteError ? error.instance : undefined);
  for (let count = errors.length; ; count = Math.floor(count / 2)) {
    const left = errors.length - count;
    const said = left === 0 ? detail : `${detail} (and ${left} more)`;
    const bytes = errorV1.Problem.encode(
      errorV1.Problem.fromPartial({ ...problem, detail: said.slice(0, MAX_DETAIL), errors: errors.slice(0, count), retryAfter: retryAfter ?? 0 }),
    ).finish();
    if (bytes.length <= MAX_PROBLEM_BYTES || count === 0) return bytes;
  }
}

/** A gRPC trailer is an HTTP/2 header block; many implementations refuse more than 8 KiB of it, and the bytes grow by a third as base64. */
const MAX_PROBLEM_BYTES = 5_000;
const MAX_DETAIL = 1_500;

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
