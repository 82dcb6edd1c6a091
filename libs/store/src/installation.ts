/** What this installation is: its id names it in ledgers of sink databases, which several installations may share. */
import { OneDataError } from "@onedata/core";
import type { Sql } from "./connection.ts";

/** Throws `config.problems` when the database was not migrated. */
export async function readInstallationId(sql: Sql): Promise<string> {
  const [row] = await sql<{ value: string }[]>`select value from onedata.installation where name = 'id'`;
  if (row === undefined) throw new OneDataError("config.problems", "the database has no installation id; was it migrated?");
  return row.value;
}

/** Tells this database from every other one, whatever name or address leads to it: sinks refuse to write into the platform's own. */
export async function readDatabaseIdentity(sql: Sql): Promise<{ readonly systemIdentifier: string; readonly databaseOid: number }> {
  const [row] = await sql<{ system: string; oid: number }[]>`
    select (pg_control_system()).system_identifier::text as system, (select oid::int from pg_database where datname = current_database()) as oid`;
  if (row === undefined) throw new OneDataError("internal", "the database has no identity");
  return { systemIdentifier: row.system, databaseOid: row.oid };
}
