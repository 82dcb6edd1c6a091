/** The casts, one by one: a value as the wanted type, or undefined when it cannot be. Strict: text is trimmed, and all of it must be the value. */
import { ExactNumber, isJsonObject, type Json } from "@onedata/core";
import { stringifyJson, survivesAsDouble } from "@onedata/formats";
import { choice, text, texts } from "../read-config.ts";
import { createDateReader, type DateReader } from "./date-format.ts";

export type Cast = {
  readonly wanted: string;
  readonly cast: (value: Json) => Json | undefined;
  /** Why there is no result, where it is not only another notation. */
  readonly explain?: (value: Json) => string | undefined;
};

const TRUE = new Set(["true", "yes", "y", "1"]);
const FALSE = new Set(["false", "no", "n", "0"]);

/** The schema has checked the shape. Throws `config.invalid` for a date format or time zone that cannot be used. */
export function createCast(target: Json): Cast {
  const options = isJsonObject(target) ? target : { type: target };
  switch (text(options, "type")) {
    case "integer": {
      const toNumber = numberCast(text(options, "decimal") ?? ".", text(options, "group"));
      return { wanted: "an integer", cast: (value) => integral(toNumber(value)) };
    }
    case "boolean":
      return { wanted: "a boolean (true, false, yes, no, y, n, 1, 0)", cast: toBoolean };
    case "string":
      return {
        wanted: "text",
        cast: (value) =>
          typeof value === "string" ? value : typeof value === "object" && !(value instanceof ExactNumber) ? undefined : stringifyJson(value),
      };
    case "date": {
      const formats = typeof options["format"] === "string" ? [options["format"]] : texts(options["format"]);
      const readers = formats.map((format) => createDateReader(format, text(options, "timezone")));
      const dateOnly = choice(options, "as", ["any", "date"]) === "date";
      return {
        wanted: `a date written as ${formats.join(" or ")}`,
        cast(value) {
          const date = readDate(value, readers);
          return typeof date === "string" ? (dateOnly ? date.slice(0, 10) : date) : undefined;
        },
        explain(value) {
          const date = readDate(value, readers);
          return typeof date === "object" ? `a time that ${date.skippedIn} skips, because its clocks go forward then` : undefined;
        },
      };
    }
    case undefined:
    default:
      return { wanted: "a number", cast: numberCast(text(options, "decimal") ?? ".", text(options, "group")) };
  }
}

function readDate(value: Json, readers: readonly DateReader[]): ReturnType<DateReader> {
  if (typeof value !== "string" && typeof value !== "number") return undefined;
  const written = String(value).trim();
  let skipped: ReturnType<DateReader>;
  for (const read of readers) {
    const date = read(written);
    if (typeof date === "string") return date;
    skipped ??= date;
  }
  return skipped;
}

function numberCast(decimal: string, group: string | undefined): (value: Json) => number | ExactNumber | undefined {
  const digits = group === undefined ? "[0-9]+" : `[0-9]{1,3}(?:${escape(group)}[0-9]{3})+|[0-9]+`;
  const pattern = new RegExp(`^([+-]?)(${digits})?(?:${escape(decimal)}([0-9]*))?([eE][+-]?[0-9]+)?$`);
  return (value) => {
    if (typeof value === "number" || value instanceof ExactNumber) return value;
    if (typeof value !== "string") return undefined;
    const match = pattern.exec(value.trim());
    if (match === null) return undefined;
    const [, sign = "", grouped = "", fraction = "", exponent = ""] = match;
    if (grouped === "" && fraction === "") return undefined;
    const whole = (group === undefined ? grouped : grouped.replaceAll(group, "")).replace(/^0+(?=.)/, "");
    const literal = `${sign === "-" ? "-" : ""}${whole || "0"}${fraction === "" ? "" : `.${fraction}`}${exponent}`;
    return survivesAsDouble(literal) ? Number(literal) : new ExactNumber(literal);
  };
}

function integral(value: number | ExactNumber | undefined): number | ExactNumber | undefined {
  if (typeof value === "number") return Number.isInteger(value) ? value : undefined;
  return value !== undefined && /^-?\d+(?:\.0*)?$/.test(value.text) ? new ExactNumber(value.text.replace(/\.0*$/, "")) : undefined;
}

function toBoolean(value: Json): boolean | undefined {
  if (typeof value === "boolean") return value;
  if (typeof value !== "string" && typeof value !== "number") return undefined;
  const written = String(value).trim().toLowerCase();
  return TRUE.has(written) ? true : FALSE.has(written) ? false : undefined;
}

const escape = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
