/**
 * JSONata's errors become `OneDataError`s that carry the expression, the position and the value.
 * The package throws plain objects with a `code` (`T2001`); compiled code throws `JsonataFailure` with the same codes, so both read the same here.
 */
import { ExactNumber, OneDataError } from "@onedata/core";

export type FailureDetails = {
  readonly position?: number | undefined;
  readonly value?: unknown;
  readonly token?: string | undefined;
  readonly message?: string;
};

/** What compiled code throws. Not an `Error`: a record that fails must not pay for a stack trace. */
export class JsonataFailure {
  readonly code: string;
  position: number | undefined;
  readonly value: unknown;
  readonly token: string | undefined;
  readonly message: string | undefined;
  constructor(code: string, details: FailureDetails = {}) {
    this.code = code;
    this.position = details.position;
    this.value = details.value;
    this.token = details.token;
    this.message = details.message;
  }
}

/** Texts for the codes that compiled code throws by itself; the package fills in its own. */
const messages: Record<string, string> = {
  D1001: "a number is out of range",
  D1002: "cannot negate a value that is not a number",
  T1003: "a key of an object must be a string",
  T1005: "this is not a function; did you forget the leading $?",
  T1006: "this is not a function",
  D1009: "two keys of an object are the same",
  D1011: "the expression nests too deeply",
  D1012: "the expression takes too long",
  D1013: "member names starting with _jsonata_ are reserved",
  T2001: "the left side must be a number",
  T2002: "the right side must be a number",
  T2003: "the left side of .. must be an integer",
  T2004: "the right side of .. must be an integer",
  T2007: "cannot order values of different types",
  T2008: "an order-by term must be a number or a string",
  T2009: "both sides of the comparison must be of the same type",
  T2010: "both sides of the comparison must be numbers or strings",
  D2014: "the range is too long",
  D2015: "the sequence is too long",
  D3001: "Infinity and NaN have no text",
  D3010: "the pattern of $replace is empty",
  D3011: "the limit of $replace is negative",
  D3012: "the function given to $replace must answer with a string",
  D3020: "the limit of $split is negative",
  D3030: "the value cannot be read as a number",
  D3040: "the limit of $match is negative",
  D3050: "the function given to $reduce needs at least two parameters",
  D3060: "$sqrt of a negative number",
  D3061: "the result of $power is out of range",
  D3070: "$sort without a function needs only strings or only numbers",
  D3100: "the radix of $formatBase must be between 2 and 36",
  D3110: "not an ISO 8601 timestamp; for another format give $toMillis a picture",
  D3130: "this sequence of numbers is not supported",
  D3131: "a picture of digits must keep to one family of digits",
  D3132: "unknown component in the date's picture",
  D3133: "names are for months and days only in a date's picture",
  D3134: "a timezone in a date's picture has at most four digits",
  D3135: "a bracket of the date's picture is not closed",
  D3136: "the date's picture lacks components that a timestamp needs",
  D3138: "$single found more than one match",
  D3139: "$single found no match",
  D3140: "the text is no valid URL part",
  T0410: "an argument does not match the function's signature",
  T0411: "the context does not match the function's signature",
  T0412: "an argument must be an array of one type",
};

const maxValueLength = 200;

/** The JSONata code (`T2001`) inside an error of this module, for metrics and tests. */
export function jsonataCode(error: unknown): string | undefined {
  if (error instanceof OneDataError) return jsonataCode(error.cause);
  if (typeof error !== "object" || error === null) return undefined;
  if (error instanceof RangeError) return "RangeError";
  return "code" in error && typeof error.code === "string" ? error.code : undefined;
}

export function invalidExpression(source: string, cause: unknown, advice: string): OneDataError {
  return new OneDataError("expression.invalid", `expression ${quote(source)} cannot be compiled${describe(cause)}; ${advice}`, { cause });
}

export function failedExpression(source: string, cause: unknown): OneDataError {
  return new OneDataError("expression.failed", `expression ${quote(source)} failed${describe(cause)}`, { cause });
}

function describe(cause: unknown): string {
  if (typeof cause !== "object" || cause === null) return `: ${String(cause)}`;
  const { position, code, message, value } = fieldsOf(cause);
  const where = typeof position === "number" ? ` at position ${position}` : "";
  const named = typeof code === "string" ? `${code} ` : "";
  const text = typeof message === "string" ? message : (messages[String(code)] ?? "unknown failure");
  return `${where}: ${named}${text}${value === undefined ? "" : `; value: ${shorten(textOf(value))}`}`;
}

function fieldsOf(cause: object): { position?: unknown; code?: unknown; message?: unknown; value?: unknown } {
  return {
    position: "position" in cause ? cause.position : undefined,
    code: "code" in cause ? cause.code : undefined,
    message: "message" in cause ? cause.message : undefined,
    value: "value" in cause ? cause.value : undefined,
  };
}

const quote = (source: string): string => JSON.stringify(shorten(source));

const shorten = (text: string): string => (text.length > maxValueLength ? `${text.slice(0, maxValueLength - 1)}…` : text);

function textOf(value: unknown): string {
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return JSON.stringify(value.slice(0, maxValueLength));
  if (typeof value === "function") return "a function";
  try {
    return JSON.stringify(value, (_, member) => (member instanceof ExactNumber ? member.toDouble() : member)) ?? "absent";
  } catch {
    return "a function"; // only functions of the language hold cycles
  }
}
