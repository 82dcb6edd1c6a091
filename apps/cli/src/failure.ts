/**
 * Why a command ended, and with which code: 1 a problem, 2 wrong usage, 3 the server cannot be reached, 130 Ctrl-C.
 * Duty: one shape for problems of the server (RFC 9457), of this program and of the libraries. Non-duty: catching them (cli.ts).
 */
import { isJsonObject, type Json, type JsonObject, OneDataError, type Violation } from "@onedata/core";

export const exitCodes = { ok: 0, problem: 1, usage: 2, unreachable: 3, interrupted: 130 } as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** Something this program itself has to say. */
export class Failure extends Error {
  readonly exitCode: ExitCode;

  constructor(message: string, exitCode: ExitCode = exitCodes.problem, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.name = "Failure";
    this.exitCode = exitCode;
  }
}

/** Everything was said already: only the code is left. */
export class Exit extends Error {
  readonly code: ExitCode;

  constructor(code: ExitCode) {
    super(`exit ${code}`);
    this.name = "Exit";
    this.code = code;
  }
}

/** The server's answer was a problem. */
export class Refused extends Error {
  readonly status: number;
  readonly problem: JsonObject;

  constructor(status: number, problem: JsonObject) {
    super(typeof problem["detail"] === "string" ? problem["detail"] : `the server answered ${status}`);
    this.name = "Refused";
    this.status = status;
    this.problem = problem;
  }

  get code(): string {
    return typeof this.problem["code"] === "string" ? this.problem["code"] : "";
  }
}

export type Explained = {
  readonly exitCode: ExitCode;
  readonly code: string;
  readonly detail: string;
  readonly violations: readonly Violation[];
  readonly instance: string;
};

export function explain(error: unknown): Explained {
  if (error instanceof Refused) {
    const { problem } = error;
    return {
      exitCode: exitCodes.problem,
      code: error.code,
      detail: error.message,
      violations: toViolations(problem["errors"]),
      instance: text(problem["instance"]),
    };
  }
  if (error instanceof Failure) return { exitCode: error.exitCode, code: "", detail: error.message, violations: [], instance: "" };
  if (error instanceof OneDataError)
    return { exitCode: exitCodes.problem, code: error.code, detail: error.message, violations: error.violations, instance: "" };
  return { exitCode: exitCodes.problem, code: "", detail: describe(error), violations: [], instance: "" };
}

/** What `--json` writes to stderr. */
export function toProblemJson(error: unknown): JsonObject {
  if (error instanceof Refused) return error.problem;
  const { code, detail, violations } = explain(error);
  const errors: Json[] = violations.map(({ pointer, code: rule, detail: what }) => ({ pointer, code: rule, detail: what }));
  return { ...(code === "" ? {} : { code }), detail, ...(errors.length > 0 ? { errors } : {}) };
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (!("code" in error) || typeof error.code !== "string" || !("path" in error)) return error.message;
  const what = { ENOENT: "no such file or folder", EACCES: "no right to read it", EISDIR: "it is a folder" }[error.code] ?? error.message;
  return `${String(error.path)}: ${what}`;
}

const text = (value: Json | undefined): string => (typeof value === "string" ? value : "");

function toViolations(errors: Json | undefined): Violation[] {
  if (!Array.isArray(errors)) return [];
  return errors.filter(isJsonObject).map((error) => ({ pointer: text(error["pointer"]), code: text(error["code"]), detail: text(error["detail"]) }));
}
