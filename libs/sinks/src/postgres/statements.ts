/**
 * Rows to SQL. One text parameter per statement, cast by the database: at 500 rows of 8 columns json_to_recordset took 13.5 us a row, json_populate_recordset 14.0,
 * `->>` with casts 21, separated text 13.6; jsonb_to_recordset 10.7, but it rewrites numbers (`1e22` into a text column) and gains nothing below 100 rows.
 */
import { quoteName } from "./ledger.ts";
import { foldRows, inTableOrder, type Row } from "./rows.ts";
import type { PostgresSinkConfig } from "./sink-config.ts";
import type { Table } from "./tables.ts";

export type Statement = { readonly text: string; readonly parameter: string };

export const qualified = (table: Table): string => `${quoteName(table.schema)}.${quoteName(table.table)}`;

/** `"a" integer, "b" character varying(5)` */
export const definitions = (table: Table, columns: readonly string[]): string =>
  columns.map((column) => `${quoteName(column)} ${table.columns.get(column)?.type ?? "text"}`).join(", ");

export function toStatements(config: PostgresSinkConfig, table: Table, rows: readonly Row[]): readonly Statement[] {
  return config.key === undefined ? toInserts(table, rows) : toUpserts(config, table, rows);
}

/** A missing member means the column's default, so only rows that name the same columns with defaults share a statement; for the others missing is null. */
function toInserts(table: Table, rows: readonly Row[]): readonly Statement[] {
  return [...groupBy(rows, (row) => row.signature).values()].map((same) => {
    const present = new Set<string>();
    for (const row of same) for (const column of row.columns) present.add(column);
    const columns = inTableOrder([...present], table);
    const names = columns.map(quoteName).join(", ");
    return {
      text: `insert into ${qualified(table)} (${names}) select ${names} from json_to_recordset($1::text::json) as r(${definitions(table, columns)})`,
      parameter: toArray(same),
    };
  });
}

/** Columns that a record does not name keep what they hold, so rows share a statement only with the same columns. Sorted by key: two writers lock rows in one order. */
function toUpserts(config: PostgresSinkConfig, table: Table, rows: readonly Row[]): readonly Statement[] {
  const key = config.key ?? [];
  const keyNames = key.map(quoteName).join(", ");
  return [...groupBy(foldRows(rows, config, table), (row) => row.columns.join("\u0000")).values()].map((same) => {
    const columns = same[0]?.columns ?? [];
    const names = columns.map(quoteName).join(", ");
    const rest = columns.filter((column) => !key.includes(column));
    const position = config.newerWins === undefined ? "" : quoteName(config.newerWins);
    const guard = position === "" ? "" : ` where onedata_target.${position} is null or onedata_target.${position} <= excluded.${position}`;
    const action =
      rest.length === 0 ? "nothing" : `update set ${rest.map((column) => `${quoteName(column)} = excluded.${quoteName(column)}`).join(", ")}${guard}`;
    return {
      text: `insert into ${qualified(table)} as onedata_target (${names}) select ${names} from json_to_recordset($1::text::json) as r(${definitions(table, columns)}) order by ${keyNames} on conflict (${keyNames}) do ${action}`,
      parameter: toArray(same),
    };
  });
}

const toArray = (rows: readonly Row[]): string => `[${rows.map((row) => row.text).join(",")}]`;

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}
