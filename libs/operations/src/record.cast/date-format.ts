/**
 * Dates in stated formats: text -> ISO 8601. Strict: the whole text must match, and the date must exist.
 *
 * Tokens: YYYY YY | MMMM (January) MMM (Jan) MM M | DD D | HH H (0-23) hh h (1-12) | mm m | ss s | SSS (fraction, 1-9 digits) | A (AM, PM) | Z (Z, +01:00, +0100).
 * One-letter tokens take one or two digits, two-letter ones exactly two. `T`, digits and punctuation stand for themselves, other text in [brackets].
 * Offsets are as RFC 3339 has them: hours to 23, minutes to 59. A local time that a zone has twice is the first of the two; one that it skips is no time.
 * Names: `iso8601` (a date, or a date and time with or without offset), `unix` (seconds), `unixMs`. YY is 1969-2068, as in POSIX.
 */
import { OneDataError } from "@onedata/core";

/** ISO 8601: a calendar date, or date and time in UTC. Undefined: the text does not match, or there is no such date. */
export type DateReader = (text: string) => string | SkippedTime | undefined;

/** The text is a date and time, which the clocks of the zone have never shown. */
export type SkippedTime = { readonly skippedIn: string };

const MONTHS = ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
const TOKENS: Readonly<Record<string, string>> = {
  YYYY: "(?<YYYY>\\d{4})",
  YY: "(?<YY>\\d{2})",
  MMMM: `(?<MMMM>${MONTHS.join("|")})`,
  MMM: `(?<MMM>${MONTHS.map((m) => m.slice(0, 3)).join("|")})`,
  MM: "(?<MM>\\d{2})",
  M: "(?<M>\\d{1,2})",
  DD: "(?<DD>\\d{2})",
  D: "(?<D>\\d{1,2})",
  HH: "(?<HH>\\d{2})",
  H: "(?<H>\\d{1,2})",
  hh: "(?<hh>\\d{2})",
  h: "(?<h>\\d{1,2})",
  mm: "(?<mm>\\d{2})",
  m: "(?<m>\\d{1,2})",
  ss: "(?<ss>\\d{2})",
  s: "(?<s>\\d{1,2})",
  SSS: "(?<SSS>\\d{1,9})",
  A: "(?<A>am|pm)",
  Z: "(?<Z>z|[+-]\\d{2}:?\\d{2})",
};
const PIECE = /\[([^\]]*)\]|YYYY|YY|MMMM|MMM|MM|M|DD|D|HH|H|hh|h|mm|m|ss|s|SSS|A|Z|T|[^A-Za-z[\]]/y;
const ISO = [
  "YYYY-MM-DD",
  "YYYY-MM-DDTHH:mm:ss.SSSZ",
  "YYYY-MM-DDTHH:mm:ssZ",
  "YYYY-MM-DDTHH:mmZ",
  "YYYY-MM-DDTHH:mm:ss.SSS",
  "YYYY-MM-DDTHH:mm:ss",
  "YYYY-MM-DDTHH:mm",
];

/** Throws `config.invalid` for unknown tokens, missing parts, or an unknown time zone. Text without an offset is in `timezone`, UTC if left out. */
export function createDateReader(format: string, timezone?: string): DateReader {
  const zone = timezone === undefined || timezone === "UTC" ? undefined : createZone(timezone);
  if (format === "unix" || format === "unixMs") {
    const factor = format === "unix" ? 1000 : 1;
    return (text) => (/^-?\d{1,16}(?:\.\d{1,9})?$/.test(text) ? toInstant(Math.round(Number(text) * factor)) : undefined);
  }
  const readers = (format === "iso8601" ? ISO : [format]).map((each) => createFormatReader(each, zone));
  return (text) => {
    let skipped: SkippedTime | undefined;
    for (const read of readers) {
      const date = read(text);
      if (typeof date === "string") return date;
      skipped ??= date;
    }
    return skipped;
  };
}

function createFormatReader(format: string, zone: Zone | undefined): DateReader {
  const { pattern, tokens } = toPattern(format);
  const has = (...names: string[]): boolean => names.some((name) => tokens.has(name));
  if (!has("YYYY", "YY") || !has("MMMM", "MMM", "MM", "M") || !has("DD", "D")) throw invalid(format, "it needs a year, a month and a day");
  const hasTime = has("HH", "H", "hh", "h");
  if (has("hh", "h") !== has("A")) throw invalid(format, "hh and h need A (AM, PM), and A needs them");
  if (!hasTime && has("mm", "m", "ss", "s", "SSS", "Z")) throw invalid(format, "minutes, seconds and offsets need an hour");
  return (text) => {
    const groups = pattern.exec(text)?.groups;
    return groups === undefined ? undefined : toDate(groups, hasTime, zone);
  };
}

function toPattern(format: string): { pattern: RegExp; tokens: Set<string> } {
  const tokens = new Set<string>();
  let source = "";
  PIECE.lastIndex = 0;
  for (let at = 0; at < format.length; at = PIECE.lastIndex) {
    PIECE.lastIndex = at;
    const piece = PIECE.exec(format);
    if (piece === null) throw invalid(format, `"${format.slice(at, at + 4)}" is no token; put text in [brackets]`);
    const token = TOKENS[piece[0]];
    if (token === undefined) source += (piece[1] ?? piece[0]).replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&");
    else if (tokens.has(piece[0])) throw invalid(format, `"${piece[0]}" stands there twice`);
    else {
      tokens.add(piece[0]);
      source += token;
    }
  }
  return { pattern: new RegExp(`^${source}$`, "i"), tokens };
}

const DAY_MS = 24 * 3600 * 1000;

type Groups = Readonly<Record<string, string | undefined>>;

function toDate(groups: Groups, hasTime: boolean, zone: Zone | undefined): string | SkippedTime | undefined {
  const number = (...names: string[]): number => Number(names.map((name) => groups[name]).find((text) => text !== undefined) ?? 0);
  const monthName = (groups["MMMM"] ?? groups["MMM"])?.toLowerCase();
  const month = monthName === undefined ? number("MM", "M") : MONTHS.findIndex((name) => name.startsWith(monthName)) + 1;
  const shortYear = number("YY");
  const year = groups["YYYY"] === undefined ? (shortYear < 69 ? 2000 : 1900) + shortYear : number("YYYY");
  const day = number("DD", "D");
  const halfDay = number("hh", "h");
  if (groups["A"] !== undefined && (halfDay < 1 || halfDay > 12)) return undefined;
  const hour = groups["A"] === undefined ? number("HH", "H") : (halfDay % 12) + (groups["A"].toLowerCase() === "pm" ? 12 : 0);
  const [minute, second] = [number("mm", "m"), number("ss", "s")];
  if (hour > 23 || minute > 59 || second > 59) return undefined;
  const fraction = Math.floor(Number(`0.${groups["SSS"] ?? "0"}`) * 1000);
  // Not Date.UTC: it reads the years 0 to 99 as 1900 to 1999.
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second, fraction);
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined;
  if (!hasTime) return date.toISOString().slice(0, 10);
  const offset = groups["Z"];
  if (offset === undefined) {
    const instant = zone === undefined ? date.getTime() : zone.toInstant(date.getTime());
    return instant === undefined ? { skippedIn: zone?.name ?? "UTC" } : toInstant(instant);
  }
  const [, sign, hours = "0", minutes = "0"] = /^([+-])(\d{2}):?(\d{2})$/.exec(offset) ?? [];
  if (Number(hours) > 23 || Number(minutes) > 59) return undefined;
  return toInstant(date.getTime() - (sign === "-" ? -1 : 1) * (Number(hours) * 60 + Number(minutes)) * 60_000);
}

function toInstant(unixMs: number): string | undefined {
  return Math.abs(unixMs) > 8.64e15 ? undefined : new Date(unixMs).toISOString();
}

/** From the wall time of a zone, read as if it were UTC, to Unix milliseconds: of two such instants the earlier; undefined where there is none. */
type Zone = { readonly name: string; readonly toInstant: (wallMs: number) => number | undefined };

function createZone(timezone: string): Zone {
  let format: Intl.DateTimeFormat;
  try {
    format = new Intl.DateTimeFormat("en-US", {
      timeZone: timezone,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
      era: "short",
    });
  } catch (cause) {
    throw new OneDataError("config.invalid", `"${timezone}" is no time zone: write a name of the IANA database, such as Europe/Oslo`, { cause });
  }
  const offsetAt = (unixMs: number): number => {
    const parts = Object.fromEntries(format.formatToParts(unixMs).map((part) => [part.type, Number(part.value)]));
    const wall = new Date(0);
    wall.setUTCFullYear(parts["year"] ?? 0, (parts["month"] ?? 1) - 1, parts["day"] ?? 1);
    wall.setUTCHours(parts["hour"] ?? 0, parts["minute"] ?? 0, parts["second"] ?? 0, 0);
    return wall.getTime() - Math.floor(unixMs / 1000) * 1000;
  };
  return {
    name: timezone,
    toInstant(wallMs) {
      // No zone is a day away from UTC, so a change of the offset that matters here lies between these two; zones do not change twice in two days.
      const [before, after] = [offsetAt(wallMs - DAY_MS), offsetAt(wallMs + DAY_MS)];
      if (before === after) return wallMs - before;
      const instants = [wallMs - before, wallMs - after].filter((instant) => instant + offsetAt(instant) === wallMs);
      return instants.length === 0 ? undefined : Math.min(...instants);
    },
  };
}

const invalid = (format: string, reason: string): OneDataError =>
  new OneDataError("config.invalid", `the date format "${format}" cannot be used: ${reason}`);
