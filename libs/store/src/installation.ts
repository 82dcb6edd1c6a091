/** The id of this installation: names it in ledgers of sink databases, which several installations may share. */
import { OneDataError } from "@onedata/core";
import type { Sql } from "./connection.ts";

/** Throws `config.problems` when the database was not migrated. */
export async function readInstallationId(sql: Sql): Promise<string> {
  const [row] = await sql<{ value: string }[]>`select value from onedata.installation where name = 'id'`;
  if (row === undefined) throw new OneDataError("config.problems", "the database has no installation id; was it migrated?");
  return row.value;
}
