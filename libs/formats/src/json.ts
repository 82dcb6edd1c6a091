/**
 * Lossless JSON: text <-> `Json`.
 *
 * Duty: every number literal that a double cannot carry (`12345678901234567890`, `1e400`, `-0`) survives as an `ExactNumber` with its own text.
 * Non-duty: keeping whitespace, member order of integer-like names, duplicate members (the last wins, as in `JSON.parse`) or spellings of equal numbers (`1.10` becomes `1.1`).
 * Invariants:
 *  1. The grammar is `JSON.parse`'s own on both paths: the rare path only masks literals as strings before it parses, and puts exact numbers back afterwards.
 *     (A parser library was tried: `lossless-json` throws on duplicate members and drops `__proto__`, so the two paths would disagree.)
 *  2. Own members named `__proto__` stay own members.
 *  3. `stringifyJson` needs no flag from the parse: an `ExactNumber` shows in the output of `JSON.stringify` as `{"text":"`, a native substring search.
 *     A customer's object that happens to begin like that takes the slow path, and comes out the same.
 */
import { ExactNumber, type Json, setMember } from "@onedata/core";

/**
 * Inside a container, a literal that may be more than a double: 16 characters or more, an exponent of three digits, or a negative zero. Fifteen digits and
 * two-digit exponents always survive. It may also hit inside a string; that costs time, never truth. (Of six spellings the fastest: 0.25 us for 230 bytes.)
 */
const SUSPECT = /[:,[\s][-\d](?:[\d.]{15}|[\d.]*[eE][+-]?\d{3}|(?<=-)0(?:\.0*)?[^.\d])/;
const STARTS_AS_NUMBER = /^\s*[-\d]/;
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Throws `SyntaxError` when the text is not JSON (see `locateJsonError` for where). */
export function parseJson(text: string): Json {
  return SUSPECT.test(text) || STARTS_AS_NUMBER.test(text) ? parseExactly(text) : JSON.parse(text);
}

/** The inverse of `parseJson`. Exact numbers come out as their own text; a computed NaN or infinity is `null`, as in `JSON.stringify`. */
export function stringifyJson(value: Json): string {
  const text = JSON.stringify(value);
  return text.includes('{"text":"') ? stringifyExactly(value) : text;
}

/** True when reading the literal as a double and writing it again gives the same number. */
export function survivesAsDouble(literal: string): boolean {
  const double = Number(literal);
  if (!Number.isFinite(double)) return false;
  if (double === 0) return !literal.startsWith("-") && /^0*(?:\.0*)?(?:[eE]|$)/.test(literal);
  const written = String(double);
  return written === literal || canonical(written) === canonical(literal);
}

/** `-12.50e3` as `-125e2`: sign, digits without outer zeros, and the power of ten they are multiplied by. */
function canonical(literal: string): string {
  const [mantissa = "", exponent = "0"] = literal.toLowerCase().split("e");
  const sign = mantissa.startsWith("-") ? "-" : "";
  const [whole = "", fraction = ""] = mantissa.slice(sign.length).split(".");
  const digits = (whole + fraction).replace(/^0+/, "");
  const significant = digits.replace(/0+$/, "");
  return `${sign}${significant}e${Number(exponent) - fraction.length + (digits.length - significant.length)}`;
}

function parseExactly(text: string): Json {
  // Syntax errors are those of the text itself, not of the masked one.
  const plain: Json = JSON.parse(text);
  const mark = unusedMark(text, plain);
  let masked = 0;
  const maskedText = text.replace(TOKEN, (token) => {
    if (token.startsWith('"') || survivesAsDouble(token)) return token;
    masked += 1;
    return `"${mark}${token}"`;
  });
  return masked === 0 ? plain : unmask(JSON.parse(maskedText), mark);
}

/** A prefix that no string value begins with. */
function unusedMark(text: string, plain: Json): string {
  const used = new Set<string>();
  if (text.includes('"#') || text.includes("\\u0023")) collectMarks(plain, used);
  for (let k = 0; ; k++) if (!used.has(`#${k}:`)) return `#${k}:`;
}

function collectMarks(value: Json, used: Set<string>): void {
  if (typeof value === "string") {
    const mark = /^#\d+:/.exec(value);
    if (mark !== null) used.add(mark[0]);
  } else if (typeof value === "object" && value !== null) {
    for (const item of Object.values(value)) collectMarks(item, used);
  }
}

function unmask(value: Json, mark: string): Json {
  if (typeof value === "string") return value.startsWith(mark) ? new ExactNumber(value.slice(mark.length)) : value;
  if (typeof value !== "object" || value === null || value instanceof ExactNumber) return value;
  if (Array.isArray(value)) return value.map((item) => unmask(item, mark));
  for (const [member, item] of Object.entries(value)) setMember(value, member, unmask(item, mark));
  return value;
}

function stringifyExactly(value: Json): string {
  if (value instanceof ExactNumber) return value.text;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item) => (item === undefined ? "null" : stringifyExactly(item))).join(",")}]`;
  const members: string[] = [];
  for (const [member, item] of Object.entries(value)) if (item !== undefined) members.push(`${JSON.stringify(member)}:${stringifyExactly(item)}`);
  return `{${members.join(",")}}`;
}
