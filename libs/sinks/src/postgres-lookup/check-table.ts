/** What a spec's author wants to know before the first event: table, columns, rights, an index, and whether the query works at all. Reads only. */

import { quoteName } from "../postgres/ledger.ts";
import type { SinkDatabase } from "../postgres/pools.ts";
import { classify, shorten, toSqlFailure } from "../postgres/sqlstate.ts";
import { type LookupColumns, listColumns, readColumns } from "./columns.ts";
import { findRows } from "./find-rows.ts";
import type { LookupProblem } from "./lookup.ts";

export type TableToCheck = { readonly schema: string; readonly table: string; readonly column: string; readonly take: readonly string[] };

export async function checkTable(database: SinkDatabase, wanted: TableToCheck): Promise<readonly LookupProblem[]> {
  const label = `${wanted.schema}.${wanted.table}`;
  const known = await readColumns(database, wanted, 0);
  if (known === undefined)
    return [
      problem("table", `table ${label} does not exist in ${database.address}, or its schema is closed to this role: create it, or correct its name`),
    ];
  const problems = [
    ...checkColumn(known, label, { member: "column", name: wanted.column }),
    ...wanted.take.flatMap((name) => checkColumn(known, label, { member: "take", name })),
  ];
  const { type = "", isIndexed = false } = known.columns.get(wanted.column) ?? {};
  if (problems.length > 0) return problems;
  try {
    await findRows(database, { ...wanted, type, checksInput: known.checksInput, keys: [] });
  } catch (error) {
    const failure = toSqlFailure(error);
    if (classify(failure) === "connection") throw error;
    return [problem("table", `${label} cannot be looked into by ${JSON.stringify(wanted.column)} (${type}): ${shorten(failure.message, 300)}`)];
  }
  if (isIndexed || !known.canBeIndexed) return [];
  const names = `${quoteName(wanted.schema)}.${quoteName(wanted.table)} (${quoteName(wanted.column)})`;
  return [
    {
      ...problem(
        "column",
        `no index begins with ${JSON.stringify(wanted.column)}, so each call reads all of ${label}: create unique index on ${names}`,
      ),
      code: "lookup.no_index",
      isWarning: true,
    },
  ];
}

function checkColumn(
  known: LookupColumns,
  label: string,
  { member, name }: { readonly member: "column" | "take"; readonly name: string },
): LookupProblem[] {
  const column = known.columns.get(name);
  const at = member === "take" ? { column: name } : {};
  if (column === undefined) return [{ ...problem(member, `${label} has no column ${JSON.stringify(name)}; it has: ${listColumns(known)}`), ...at }];
  if (column.isReadable) return [];
  return [{ ...problem(member, `role ${known.role} may not read ${JSON.stringify(name)} of ${label}: grant select on it`), ...at }];
}

const problem = (member: LookupProblem["member"], detail: string): LookupProblem => ({ member, code: "config.invalid", detail, isWarning: false });
