/**
 * The one error class, and the one funnel `OneDataError.from(unknown)`.
 * The message says what failed, with which value, and what to do. Text of unknown errors never crosses a process line: `toProblem` replaces it.
 */
import { type CatalogueRow, catalogue, type ErrorCode, isErrorCode } from "./catalogue.ts";

/** One thing wrong in a document: where (JSON Pointer, RFC 6901), which rule, and what to do. */
export type Violation = { readonly pointer: string; readonly code: string; readonly detail: string };

/** RFC 9457 problem details. */
export type Problem = {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail: string;
  readonly errors?: readonly Violation[];
  /** Seconds; also sent as `Retry-After`. */
  readonly retryAfter?: number;
  /** Names the log line that holds the cause of an unknown error. */
  readonly instance?: string;
};

export type OneDataErrorOptions = { readonly cause?: unknown; readonly violations?: readonly Violation[]; readonly retryAfterSeconds?: number };

export class OneDataError extends Error {
  readonly code: ErrorCode;
  readonly violations: readonly Violation[];
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, message: string, options: OneDataErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "OneDataError";
    this.code = code;
    this.violations = options.violations ?? [];
    this.retryAfterSeconds = options.retryAfterSeconds;
  }

  get row(): CatalogueRow {
    return catalogue[this.code];
  }

  /** Unknown errors become `internal` with the original as cause. */
  static from(error: unknown): OneDataError {
    if (error instanceof OneDataError) return error;
    if (error instanceof Error && error.name === "AbortError") return new OneDataError("aborted", "the call was cancelled", { cause: error });
    return new OneDataError("internal", error instanceof Error ? error.message : String(error), { cause: error });
  }

  /** What a caller may see. `instance` is the id under which an internal error was logged. */
  toProblem(instance?: string): Problem {
    const { http, title } = this.row;
    const detail =
      this.code === "internal" ? "An unexpected error; the log names its cause. Try again, and report the instance if it stays." : this.message;
    return {
      type: `/docs/errors#${this.code}`,
      title,
      status: http,
      code: this.code,
      detail,
      ...(this.violations.length > 0 ? { errors: this.violations } : {}),
      ...(this.retryAfterSeconds === undefined ? {} : { retryAfter: this.retryAfterSeconds }),
      ...(instance === undefined ? {} : { instance }),
    };
  }

  static fromProblem(problem: { code: string; detail: string; errors?: readonly Violation[]; retryAfter?: number }): OneDataError {
    return new OneDataError(isErrorCode(problem.code) ? problem.code : "internal", problem.detail, {
      violations: problem.errors ?? [],
      ...(problem.retryAfter === undefined ? {} : { retryAfterSeconds: problem.retryAfter }),
    });
  }
}
