/** enrich.lookup: adds columns of an uploaded list, or of a table of the tenant's database, to records. One fetch per call, however many records it carries. */
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
import type { LookupPort, Operation, PreparedRecord, Step, StepCall, TableRow } from "../operation.ts";
import { describe, failed, one, requireObject } from "../outcomes.ts";
import { choice, text, textMembers } from "../read-config.ts";
import examples from "./examples.json" with { type: "json" };
import { columnOf, type LookupTable, readLookupTable } from "./table-config.ts";

const description: OperationDescription = {
  name: "enrich.lookup",
  title: "Add columns of a lookup table",
  doc: [
    'Finds the row of the lookup `table` whose `column` is the value of `on` (an expression: a member such as `country_code`, or something computed) and copies the columns that `take` names: a list keeps their names, with `prefix` before them; an object says where each goes (`{"name": "country.name"}`). Members of those names are replaced; a column the row does not have leaves them alone.',
    '`column` may be left out when `on` is a member: the column of the same name is meant. Keys compare as text, so 47 finds "47". `missing` says what becomes of a record without a row, or without a key: `dead` (lookup.missing), `filter`, or `null`, which sets the taken members to null.',
    "Without `connection`, `table` is an uploaded list (`PUT /v1/lookups/{name}`), whose first row of a key counts. With `connection`, the name of a connection of kind postgres, it is a table or view of that database: `public.countries`, or `countries` in the connection's schema; names are written as the database has them, without quotes. One query per call reads the taken columns of the rows that are needed, so `column` wants an index.",
    'Keys are cast to the column\'s type as Postgres does it: "047" finds 47 in an integer column. A key that is no value of that type ("abc" for an integer) has no row, which `missing` decides. A key with several rows is a dead letter, `lookup.ambiguous`: a database has no first row. The taken columns of one row may have 32 KiB.',
    "Rows that were found are kept for `cacheSeconds` (10; 0 = none), per tenant, connection and table, in each transform process, so a changed row counts after that time at the latest; that a key has no row is never kept. While the database is away its records wait, like those of a sink that is down: nothing dies, and other pipelines go on.",
  ].join("\n"),
  shape: "map",
  effects: "read",
  configSchema: {
    type: "object",
    additionalProperties: false,
    required: ["table", "on", "take"],
    dependentRequired: { schema: ["connection"], cacheSeconds: ["connection"] },
    properties: {
      connection: { type: "string", minLength: 1, description: "name of a connection of kind postgres; without it `table` is an uploaded list" },
      table: { type: "string", minLength: 1, maxLength: 200, description: "name of a list, or with a connection `table` or `schema.table`" },
      schema: { type: "string", minLength: 1, maxLength: 63, description: "the table's schema; then a dot in `table` belongs to its name" },
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
      cacheSeconds: { type: "number", minimum: 0, maximum: 3600, default: 10, description: "how long rows that were found are kept; 0 = not at all" },
    },
  },
  needsConnection: true,
  examples: readExamples("enrich.lookup", examples),
};

type Taken = { readonly column: string; readonly to: MemberPath };
type Keyed = { readonly key: string } | { readonly problem: string } | { readonly error: OneDataError };

export const enrichLookup: Operation = {
  description,
  compile(config, { lookups }) {
    const members = requireConfig(description, config);
    const on = text(members, "on") ?? "";
    const column = columnOf(members);
    if (column === undefined) {
      throwViolations(description, [
        { pointer: "/column", code: "required", detail: `name the table's column: it cannot be guessed from the expression "${on}"` },
      ]);
    }
    return createStep(lookups, {
      table: text(members, "table") ?? "",
      within: text(members, "connection") === undefined ? undefined : readLookupTable(members),
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
  /** Of a connection; absent = an uploaded list. */
  readonly within: LookupTable | undefined;
  readonly column: string;
  readonly key: ReturnType<typeof compileExpression>;
  readonly on: string;
  readonly taken: readonly Taken[];
  readonly missing: "dead" | "null" | "filter";
};

function createStep(lookups: LookupPort, lookup: Lookup): Step {
  const prepare = async (records: readonly PreparedRecord[], call?: StepCall): Promise<Step> => {
    const keyed = new Map<Json, Keyed>();
    for (const { record, clock } of records) keyed.set(record, await toKey(lookup, record, clock));
    const keys = new Set<string>();
    for (const each of keyed.values()) if ("key" in each) keys.add(each.key);
    const rows = keys.size === 0 ? new Map<string, TableRow>() : await findRows(lookup, [...keys], { lookups, call });
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

async function findRows(
  { table, column, within }: Lookup,
  keys: readonly string[],
  { lookups, call }: { readonly lookups: LookupPort; readonly call: StepCall | undefined },
): Promise<ReadonlyMap<string, TableRow>> {
  if (within !== undefined) {
    if (call?.tables === undefined) throw new OneDataError("connection.unavailable", "the call came without its connection");
    return call.tables.find({ ...within, keys });
  }
  const rows = await lookups.get(table, column, keys);
  return new Map([...rows].map(([key, row]): [string, TableRow] => [key, { kind: "row", row }]));
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

function enrich(lookup: Lookup, record: JsonObject, found: Keyed, result: TableRow | undefined): Outcome {
  if (result !== undefined && result.kind !== "row") return refuse(lookup, found, result);
  const row = result?.row;
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

function refuse({ on, table, column }: Lookup, found: Keyed, result: Exclude<TableRow, { kind: "row" }>): Outcome {
  const key = "key" in found ? describe(found.key) : "";
  if (result.kind === "ambiguous")
    return failed(
      "lookup.ambiguous",
      `"${on}" is ${key}, which several rows of "${table}" have in "${column}": make it unique, or look for another column`,
    );
  return failed(
    "record.too_large",
    `the row of ${key} in "${table}" has ${result.bytes} bytes in the taken columns, more than a lookup carries: take fewer`,
  );
}

function toTaken(take: Json, prefix: string): Taken[] {
  if (isJsonObject(take)) return textMembers(take).map(([column, to]) => ({ column, to: parseMemberPath(to) }));
  const columns = Array.isArray(take) ? take.filter((item) => typeof item === "string") : [];
  return columns.map((column) => ({ column, to: { text: prefix + column, names: [prefix + column] } }));
}
