/** A database with a table, a writer, and a harness over them. For tests only. */
import type { JsonObject } from "@onedata/core";
import { openTestDatabase, type TestDatabase } from "@onedata/store/testing";
import postgres from "postgres";
import type { ConnectionConfig } from "../sink.ts";
import { createPools, type PoolsOptions } from "./pools.ts";
import { createPostgresWriter } from "./writer.ts";

/** With an empty schema public; `shared` is a file's own database and stays. */
export async function openSinkDatabase(shared: TestDatabase | undefined, options: PoolsOptions = {}) {
  const database = shared ?? (await openTestDatabase());
  const sql = postgres(database.url, { max: 4, onnotice: () => undefined });
  await sql.unsafe("drop schema if exists public cascade; create schema public; grant usage on schema public to public");
  const pools = createPools({ connectTimeoutMs: 2_000, ...options });
  const connection: ConnectionConfig = { name: "warehouse", kind: "postgres", config: { url: database.url } };
  return {
    url: database.url,
    sql,
    pools,
    connection,
    writer: createPostgresWriter(pools),
    async [Symbol.asyncDispose]() {
      await pools[Symbol.asyncDispose]();
      await sql.end({ timeout: 5 });
      if (shared === undefined) await database[Symbol.asyncDispose]();
    },
  };
}

export async function openPostgresHarness(kind: string, extra: JsonObject) {
  const database = await openSinkDatabase(undefined);
  await database.sql`create table things (id bigint primary key, name text, amount numeric)`;
  const nowhere: ConnectionConfig = { name: "away", kind: "postgres", config: { url: "postgres://u:s3cret@127.0.0.1:1/none" } };
  return {
    ...database,
    kind,
    config: { connection: "warehouse", table: "things", ...extra },
    nowhere,
    once: true,
    async stored() {
      const rows = await database.sql<{ id: string; name: string; amount: string }[]>`select id::text, name, amount::text from things`;
      return rows.map((row) => `{"id":${row.id},"name":${JSON.stringify(row.name)},"amount":${row.amount}}`);
    },
  };
}
