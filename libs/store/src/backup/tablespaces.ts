/** Tablespaces lie outside the data folder: a copy of that folder would lack them, and pg_basebackup would write them to where they are. */
import { OneDataError } from "@onedata/core";
import type { Sql } from "../connection.ts";

export async function refuseTablespaces(sql: Sql): Promise<void> {
  const spaces = await sql<{ name: string }[]>`select spcname as name from pg_tablespace where spcname not in ('pg_default', 'pg_global')`;
  if (spaces.length > 0)
    throw new OneDataError(
      "backup.failed",
      `the database has tablespaces (${spaces.map(({ name }) => name).join(", ")}), which lie outside its data folder and would not be copied; move their tables to pg_default and drop them`,
    );
}
