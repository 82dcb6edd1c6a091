/** enrich.lookup: adds columns of a lookup table to records. One fetch per call, however many records it carries. */
import {
  ExactNumber,
  FILTERED,
  isJsonObject,
  type Json,
  type JsonObject,
  OneDataError,
  type OperationDescription,
  type Outcome,
} from "@onedata/core";
import { requireConfig, throwViolations } from "../check-config.ts";
import { readExamples } from "../examples.ts";
import { compileExpression } from "../expression/index.ts";
import { assignMember, type MemberPath, parseMemberPath } from "../member-path.ts";
import type { LookupPort, Operation, PreparedRecord, Step } from "../operation.ts";
import { describe, failed, one, requireObject } from "../outcomes.ts";
import { choice, text, textMembers } from "../read-config.ts";
import examples from "./examples.json" with { type: "json" };

const PLAIN_NAME = /^(?:[A-Za-z_][A-Za-z0-9_]*\.)*([A-Za-z_][A-Za-z0-9_]*)$/;

const description: OperationDescription = {
  name: "enrich.lookup",
  title: "Add columns of a lookup table",
  doc: [
    'Finds the row of the lookup `table` whose `column` is the value of `on` (an expression: a member such as `country_code`, or something computed) and copies the columns that `take` names: a list keeps their names, with `prefix` before them; an object says where each goes (`{"name": "country.name"}`). Members of those names are replaced; a column the row does not have leaves them alone.',
    '`column` may be left out when `on` is a member: the column of the same name is meant. Keys compare as text, so 47 finds "47". `missing` says what becomes of a record without a row, or without a key: `dead` (lookup.missing), `filter`, or `null`, which sets the taken members to null.',
  ].join("\n"),
  shape: "map",
  effects: "read",
  configSchema: {
    type: "object",
    additionalProperties: false,
    required: ["table", "on", "take"],
    properties: {
      table: { type: "string", minLength: 1, maxLength: 200, description: "name of a lookup (PUT /v1/lookups/{name})" },
      on: { type: "string", format: "jsonata", description: "the key" },
      column: { type: "string", minLength: 1, maxLength: 200, description: "the table's column that holds keys" },
      take: {
        if: { type: "array" },
        then: { items: { type: "string", minLength: 1 }, minItems: 1, maxItems: 200, uniqueItems: true },
        else: { type: "object", minProperties: 1, maxProperties: 200, additionalProperties: { type: "string", format: "member-path" } },
        description: "columns to copy, or column → path",
      },
      prefix: { type: "string", maxLength: 100, description: "stands before the names of a list" },
      missing: { enum: ["dead", "null", "filter"], default: "dead" },
    },
  },
  examples: readExamples("enrich.lookup", examples),
};

type Taken = { readonly column: string; readonly to: MemberPath };
type Keyed = { readonly key: string } | { readonly problem: string } | { readonly error: OneDataError };

export const enrichLookup: Operation = {
  description,
  compile(config, { lookups }) {
    const members = requireConfig(description, config);
    const on = text(members, "on") ?? "";
    const column = text(members, "column") ?? PLAIN_NAME.exec(on)?.[1];
    if (column === undefined) {
      throwViolations(description, [
        { pointer: "/column", code: "required", detail: `name the table's column: it cannot be guessed from the expression "${on}"` },
      ]);
    }
    return createStep(lookups, {
      table: text(members, "table") ?? "",
      column: column ?? "",
      key: compileExpression(on),
      on,
      taken: toTaken(members["take"] ?? null, text(members, "prefix") ?? ""),
      missing: choice(members, "missing", ["dead", "null", "filter"]),
    });
  },
};

type Lookup = {
  readonly table: string;
  readonly column: string;
  readonly key: ReturnType<typeof compileExpression>;
  readonly on: string;
  readonly taken: readonly Taken[];
  readonly missing: "dead" | "null" | "filter";
};

function createStep(lookups: LookupPort, lookup: Lookup): Step {
  const prepare = async (records: readonly PreparedRecord[]): Promise<Step> => {
    const keyed = new Map<Json, Keyed>();
    for (const { record, clock } of records) keyed.set(record, await toKey(lookup, record, clock));
    const keys = new Set<string>();
    for (const each of keyed.values()) if ("key" in each) keys.add(each.key);
    const rows = keys.size === 0 ? new Map<string, JsonObject>() : await lookups.get(lookup.table, lookup.column, [...keys]);
    return {
      apply: (record) => {
        const found = keyed.get(record) ?? { problem: "was not prepared" };
        if ("error" in found) throw found.error;
        return enrich(lookup, requireObject(record), found, "key" in found ? rows.get(found.key) : undefined);
      },
    };
  };
  // Without a call around it, a record is a call of its own.
  return { prepare, apply: async (record, clock) => (await prepare([{ record, clock }])).apply(record, clock) };
}

async function toKey(lookup: Lookup, record: Json, clock: PreparedRecord["clock"]): Promise<Keyed> {
  try {
    const key = await lookup.key.evaluate(requireObject(record), clock);
    if (typeof key === "string") return { key };
    if (typeof key === "number" || typeof key === "boolean" || key instanceof ExactNumber) return { key: String(key) };
    return { problem: `is ${describe(key)}, which is no key` };
  } catch (error) {
    // The record's own fault: it must not fail the others' fetch.
    if (error instanceof OneDataError && error.row.retry === "never") return { error };
    throw error;
  }
}

function enrich(lookup: Lookup, record: JsonObject, found: Keyed, row: JsonObject | undefined): Outcome {
  if (row === undefined && lookup.missing === "filter") return FILTERED;
  if (row === undefined && lookup.missing === "dead") {
    const why =
      "problem" in found
        ? found.problem
        : "key" in found
          ? `is ${describe(found.key)}, which column "${lookup.column}" of "${lookup.table}" does not have`
          : "failed";
    return failed("lookup.missing", `"${lookup.on}" ${why}: add the row, or set missing to "null" or "filter"`);
  }
  const output = { ...record };
  for (const { column, to } of lookup.taken) {
    const value = row === undefined ? null : Object.hasOwn(row, column) ? row[column] : undefined;
    if (value !== undefined) assignMember(output, to, value);
  }
  return one(output);
}

function toTaken(take: Json, prefix: string): Taken[] {
  if (isJsonObject(take)) return textMembers(take).map(([column, to]) => ({ column, to: parseMemberPath(to) }));
  const columns = Array.isArray(take) ? take.filter((item) => typeof item === "string") : [];
  return columns.map((column) => ({ column, to: { text: prefix + column, names: [prefix + column] } }));
}
