import { getTableName, is } from "drizzle-orm";
import { getTableConfig, PgTable } from "drizzle-orm/pg-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openStore, type Store } from "./connection.ts";
import * as schema from "./schema.ts";
import { openTestDatabase, type TestDatabase } from "./testing.ts";

let database: TestDatabase;
let store: Store;
beforeAll(async () => {
  database = await openTestDatabase();
  store = openStore(database.url);
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

const exported: readonly unknown[] = Object.values(schema);
const tables = exported.filter((table): table is PgTable => is(table, PgTable));

describe("the Drizzle schema", () => {
  it.each(tables.map((table) => [getTableName(table), table] as const))("matches the database: %s", async (name, table) => {
    const inDatabase = await store.sql<{ name: string; type: string; required: boolean; has_default: boolean }[]>`
      select a.attname as name, format_type(a.atttypid, null) as type, a.attnotnull as required, a.atthasdef or a.attidentity <> '' as has_default
        from pg_attribute a where a.attrelid = ${`onedata.${name}`}::regclass and a.attnum > 0 and not a.attisdropped order by a.attnum`;
    const inSchema = getTableConfig(table).columns.map((column) => ({
      name: column.name,
      type: column.getSQLType(),
      required: column.notNull,
      has_default: column.hasDefault || column.generatedIdentity !== undefined,
    }));
    expect(inSchema).toEqual([...inDatabase]);
  });

  it("covers every table with a tenant that no hand-written hot path owns", async () => {
    const hotPath = ["batches", "dead_letters", "idempotency_keys"];
    const rows = await store.sql<{ table: string }[]>`
      select distinct c.relname as table from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
       where c.relnamespace = 'onedata'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition`;
    expect(
      rows
        .map(({ table }) => table)
        .filter((table) => !hotPath.includes(table))
        .filter((table) => !tables.some((known) => getTableName(known) === table)),
    ).toEqual([]);
  });
});
