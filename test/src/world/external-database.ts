/** A world's database on the server that `ONEDATA_TEST_POSTGRES` names, so that scenarios run against a Postgres that is not the embedded one. */
import { randomUUID } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "@onedata/store";

export type ExternalDatabase = { readonly url: string; drop(): Promise<void> };

/** `undefined` without the variable. A home keeps the name of its database. */
export async function openExternalDatabase(home: string): Promise<ExternalDatabase | undefined> {
  const server = process.env["ONEDATA_TEST_POSTGRES"] ?? "";
  if (server === "") return undefined;
  const administer = async (statement: string): Promise<void> => {
    const sql = connect(server, { max: 1, applicationName: "test" });
    try {
      await sql.unsafe(statement);
    } finally {
      await sql.end({ timeout: 5 });
    }
  };
  const file = join(home, "test-database");
  if (!existsSync(file)) {
    const fresh = `test_${process.pid}_${randomUUID().slice(0, 8)}`;
    await administer(`create database ${fresh}`);
    writeFileSync(file, fresh);
  }
  const name = readFileSync(file, "utf8");
  const url = new URL(server);
  url.pathname = `/${name}`;
  return { url: url.href, drop: () => administer(`drop database if exists ${name} with (force)`) };
}
