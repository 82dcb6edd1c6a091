/** Why one record was refused: names the column and the value, which Postgres itself does for few errors. Costs a query per column, for single refused records only. */
import { stringifyJson } from "@onedata/formats";
import { refused, type WriteOutcome } from "../sink.ts";
import type { Client } from "./clients.ts";
import { type SqlFailure, shorten, toSqlFailure } from "./sqlstate.ts";
import { definitions } from "./statements.ts";
import type { Part, Unit } from "./units.ts";

/** Which record of the unit is to blame, and what to say of it. */
export async function explainRefusal(
  client: Client,
  part: Part,
  { unit, failure }: { unit: Unit; failure: SqlFailure },
): Promise<{ readonly n: number; readonly refusal: WriteOutcome }> {
  const culprit = failure.code.startsWith("22") && failure.column === undefined ? await findColumn(client, part, unit) : undefined;
  const at = culprit?.row ?? 0;
  const column = culprit?.column ?? failure.column;
  const row = unit.rows[at];
  const named =
    column === undefined
      ? failure.constraint === undefined
        ? ""
        : `constraint ${JSON.stringify(failure.constraint)}: `
      : `column ${JSON.stringify(column)} (${part.table.columns.get(column)?.type ?? "unknown type"}) cannot take ${row !== undefined && Object.hasOwn(row.value, column) ? shorten(stringifyJson(row.value[column] ?? null)) : "a missing value"}: `;
  const cause = culprit?.failure ?? failure;
  const detail = cause.detail === undefined ? "" : ` (${shorten(cause.detail, 200)})`;
  const code = cause.code === "22P05" || /unicode/i.test(`${cause.message} ${cause.detail ?? ""}`) ? "sink.unstorable" : "sink.rejected";
  return { n: unit.records[at]?.n ?? unit.records[0]?.n ?? 0, refusal: refused(code, `${named}${shorten(cause.message, 300)}${detail}`) };
}

async function findColumn(client: Client, part: Part, unit: Unit): Promise<{ row: number; column: string; failure: SqlFailure } | undefined> {
  for (const [index, row] of unit.rows.entries()) {
    for (const column of row.columns) {
      const value = row.value[column];
      if (value === undefined || value === null) continue;
      try {
        await client.query(`select 1 from json_to_recordset($1::text::json) as r(${definitions(part.table, [column])})`, [
          `[{${JSON.stringify(column)}:${stringifyJson(value)}}]`,
        ]);
      } catch (error) {
        return { row: index, column, failure: toSqlFailure(error) };
      }
    }
  }
  return undefined;
}
