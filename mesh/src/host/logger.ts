/**
 * Log lines: JSON for collectors, readable for terminals. Own, because it is this small: no transport threads, no global state.
 * Invariants: values under secret-looking names and passwords inside URLs are never written; a line is one write; logging never throws.
 */
export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = { readonly [name: string]: unknown };

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  /** Put the error itself under `error`: its code, stack and causes are written. */
  error(message: string, fields?: LogFields): void;
  /** The same logger with fields added to every line. */
  with(fields: LogFields): Logger;
}

export type LoggerOptions = {
  /** Who logs: the workload. */
  readonly name: string;
  readonly level?: LogLevel;
  /** Readable lines; by default when stderr is a terminal. */
  readonly pretty?: boolean;
  readonly write?: (line: string) => void;
  readonly now?: () => Date;
};

const LEVELS = { debug: 10, info: 20, warn: 30, error: 40 } as const;

export function createLogger(options: LoggerOptions): Logger {
  const {
    name,
    level = "info",
    pretty = process.stderr.isTTY === true,
    write = (line) => process.stderr.write(line),
    now = () => new Date(),
  } = options;
  const make = (bound: LogFields): Logger => {
    const log =
      (at: LogLevel) =>
      (message: string, fields: LogFields = {}): void => {
        if (LEVELS[at] < LEVELS[level]) return;
        const safe = redactFields({ ...bound, ...fields });
        const time = now().toISOString();
        write(
          pretty
            ? toPretty(time, at, name, redactText(message), safe)
            : `${JSON.stringify({ time, level: at, name, message: redactText(message), ...safe })}\n`,
        );
      };
    return { debug: log("debug"), info: log("info"), warn: log("warn"), error: log("error"), with: (fields) => make({ ...bound, ...fields }) };
  };
  return make({});
}

const SECRET_NAME = /secret|password|passwd|token|authorization|api_?key|credential|cookie/i;
const REDACTED = "[redacted]";

/** Passwords in URLs and bearer tokens. */
export const redactText = (text: string): string =>
  text.replaceAll(/(:\/\/[^\s:/@]*):[^\s@/]+@/g, `$1:${REDACTED}@`).replaceAll(/\b(Bearer|Basic)\s+[\w.~+/=-]+/gi, `$1 ${REDACTED}`);

function redactFields(fields: LogFields): { [name: string]: unknown } {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, SECRET_NAME.test(name) ? REDACTED : toLoggable(value, 0)]));
}

const MAX_DEPTH = 6;

function toLoggable(value: unknown, depth: number): unknown {
  if (typeof value === "string") return redactText(value);
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return typeof value === "function" || typeof value === "symbol" ? String(value) : value;
  if (depth >= MAX_DEPTH) return "[deeper]";
  if (value instanceof Error) return toLoggableError(value, depth);
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) return `[${value.length} bytes]`;
  if (Array.isArray(value)) return value.slice(0, 100).map((entry) => toLoggable(entry, depth + 1));
  return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, SECRET_NAME.test(name) ? REDACTED : toLoggable(entry, depth + 1)]));
}

function toLoggableError(error: Error, depth: number): { [name: string]: unknown } {
  const { name, message, stack, cause } = error;
  const code: unknown = "code" in error ? error.code : undefined;
  return {
    name,
    ...(code === undefined ? {} : { code }),
    message: redactText(message),
    ...(stack === undefined ? {} : { stack: redactText(stack) }),
    ...(cause === undefined ? {} : { cause: toLoggable(cause, depth + 1) }),
  };
}

function toPretty(time: string, level: LogLevel, name: string, message: string, fields: LogFields): string {
  const { error, ...rest } = fields;
  const details = Object.entries(rest).map(
    ([key, value]) => `${key}=${typeof value === "string" && !/\s/.test(value) ? value : JSON.stringify(value)}`,
  );
  const stack =
    typeof error === "object" && error !== null && "stack" in error
      ? `\n${String(error.stack)}`
      : error === undefined
        ? ""
        : ` error=${JSON.stringify(error)}`;
  return `${time.slice(11, 23)} ${COLOURS[level]}${level.padEnd(5)}\u001B[0m ${name} ${message}${details.length > 0 ? ` \u001B[2m${details.join(" ")}\u001B[0m` : ""}${stack}\n`;
}

const COLOURS = { debug: "\u001B[2m", info: "\u001B[32m", warn: "\u001B[33m", error: "\u001B[31m" } as const;
