import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openStore, type Store } from "./connection.ts";
import { migrate } from "./migrate.ts";
import { openTestDatabase, type TestDatabase } from "./testing.ts";

describe("migrations", () => {
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

  it("applies nothing twice, also when two processes migrate at once", async () => {
    expect(await Promise.all([migrate(database.url), migrate(database.url)])).toEqual([[], []]);
  });

  it("refuses a database whose applied migration differs from the file", async () => {
    await store.sql`update onedata.migrations set hash = 'x' || hash where number = 1`;
    await expect(migrate(database.url)).rejects.toThrow(/0001_hot_path.sql was changed/);
    await store.sql`update onedata.migrations set hash = substr(hash, 2) where number = 1`;
  });

  it("makes a missing day's partitions and only those", async () => {
    expect((await store.sql`select onedata.ensure_partitions(3) made`)[0]?.["made"]).toBe(0);
    expect((await store.sql`select onedata.ensure_partitions(4) made`)[0]?.["made"]).toBe(5);
  });
});
