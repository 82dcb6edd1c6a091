/** record.cast: text to numbers, booleans and dates, as stated. */
import { isJsonObject, type OperationDescription } from "@onedata/core";
import { requireConfig } from "../check-config.ts";
import { readExamples } from "../examples.ts";
import { assignMember, getMember, parseMemberPath } from "../member-path.ts";
import type { Operation } from "../operation.ts";
import { describe, failed, one, requireObject } from "../outcomes.ts";
import { choice } from "../read-config.ts";
import { createCast } from "./casts.ts";
import examples from "./examples.json" with { type: "json" };

const MAX_LISTED = 5;
const dateFormat = { type: "string", format: "date-format" } as const;

const description: OperationDescription = {
  name: "record.cast",
  title: "Cast members to types",
  doc: [
    'Casts each member that `fields` names. Absent and null members stay as they are; text is trimmed first, and all of it must be the value: "12 kg" is no number, and neither is "" (use `onError: "null"` for empty cells).',
    'number: digits with an optional sign, fraction and exponent; `decimal` and `group` name other signs ("1.234,50" has decimal "," and group "."). Digits beyond double precision are kept exactly. integer: the same without a fraction. boolean: true, false, yes, no, y, n, 1, 0, in any case. string: numbers and booleans as JSON writes them.',
    'date: `format` is one format or several, tried in order; the result is ISO 8601: `2026-11-23`, or in UTC `2026-11-23T12:30:00.000Z` where the format has a time. Text without an offset is in `timezone` (IANA name; UTC if left out): when clocks go back, an hour comes twice and the first one is meant; a time that is skipped when they go forward is no date. `as: "date"` cuts the time off. Tokens: YYYY YY MMMM MMM MM M DD D HH H hh h mm m ss s SSS A Z; one letter takes one or two digits; `T`, digits and punctuation stand for themselves, other text in [brackets]. Names: iso8601, unix, unixMs.',
    "`onError`: `dead` fails the record (record.cast_failed, naming every member), `null` puts null there, `keep` leaves the value.",
  ].join("\n"),
  shape: "map",
  effects: "none",
  configSchema: {
    type: "object",
    additionalProperties: false,
    required: ["fields"],
    properties: {
      fields: {
        type: "object",
        minProperties: 1,
        maxProperties: 500,
        propertyNames: { type: "string", format: "member-path" },
        description: "path → type",
        additionalProperties: {
          if: { type: "string" },
          then: { enum: ["number", "integer", "boolean", "string"] },
          else: {
            type: "object",
            required: ["type"],
            if: { properties: { type: { const: "date" } } },
            then: {
              required: ["format"],
              additionalProperties: false,
              properties: {
                type: true,
                format: { if: { type: "array" }, then: { items: dateFormat, minItems: 1, maxItems: 20 }, else: dateFormat },
                timezone: { type: "string", format: "time-zone" },
                as: { enum: ["any", "date"] },
              },
            },
            else: {
              additionalProperties: false,
              properties: {
                type: { enum: ["number", "integer", "boolean", "string", "date"] },
                decimal: { enum: [".", ","] },
                group: { enum: [",", ".", " ", "'", "\u00a0", "\u202f"] },
              },
            },
          },
        },
      },
      onError: { enum: ["dead", "null", "keep"], default: "dead" },
    },
  },
  examples: readExamples("record.cast", examples),
};

export const recordCast: Operation = {
  description,
  compile(config) {
    const members = requireConfig(description, config);
    const fields = Object.entries(isJsonObject(members["fields"]) ? members["fields"] : {}).map(([path, target]) => ({
      path: parseMemberPath(path),
      ...createCast(target),
    }));
    const onError = choice(members, "onError", ["dead", "null", "keep"]);
    return {
      apply(input) {
        const record = requireObject(input);
        const output = { ...record };
        let problems: string[] | undefined;
        for (const { path, wanted, cast, explain } of fields) {
          const value = getMember(record, path);
          if (value === undefined || value === null) continue;
          const result = cast(value);
          if (result !== undefined) assignMember(output, path, result);
          else if (onError === "null") assignMember(output, path, null);
          else if (onError === "dead") (problems ??= []).push(`"${path.text}" is ${describe(value)}, ${explain?.(value) ?? `not ${wanted}`}`);
        }
        if (problems === undefined) return one(output);
        const more = problems.length > MAX_LISTED ? `; and ${problems.length - MAX_LISTED} more` : "";
        return failed(
          "record.cast_failed",
          `${problems.slice(0, MAX_LISTED).join("; ")}${more}: correct the data, or set onError to "null" or "keep"`,
        );
      },
    };
  },
};
