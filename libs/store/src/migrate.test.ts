import { randomUUID } from "node:crypto";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { captureGroup } from "./capture.ts";
import type { CaptureTarget } from "./capture-batches.ts";
import { openStore, type Store } from "./connection.ts";
import { type Migration, migrate, readMigrations } from "./migrate.ts";
import { SCHEMA_RELEASE } from "./schema-release.ts";
import { createTestPipeline, openTestDatabase, type TestDatabase } from "./testing.ts";

const migration = (number: number, sql: string): Migration => ({ number, name: `${number}_test.sql`, hash: randomUUID(), sql });

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
    const name = `test_${process.pid}_${randomUUID().slice(0, 8)}`;
    await store.sql.unsafe(`create database ${name}`);
    const url = new URL(database.url);
    url.pathname = `/${name}`;
    try {
      const applied = await Promise.all([migrate(url.href), migrate(url.href), migrate(url.href)]);
      expect(applied.map((names) => names.length).sort((a, b) => a - b)).toEqual([0, 0, readMigrations().length]);
    } finally {
      await store.sql.unsafe(`drop database ${name} with (force)`);
    }
  });

  it("waits for another process that migrates, and says so", async () => {
    const other = postgres(database.url, { max: 1 });
    await other`select pg_advisory_lock(7305809182)`;
    const said: string[] = [];
    const waiting = migrate(database.url, { onWait: (message) => said.push(message) });
    await expect.poll(() => said).toEqual(["another process migrates the database; waiting for it"]);
    await other.end();
    expect(await waiting).toEqual([]);
    const again = postgres(database.url, { max: 1 });
    await again`select pg_advisory_lock(7305809182)`;
    await expect(migrate(database.url, { waitMs: 0 })).rejects.toThrow(/another process has been migrating/);
    await again.end();
  });

  it("refuses a database whose applied migration differs from the file", async () => {
    await store.sql`update onedata.migrations set hash = 'x' || hash where number = 1`;
    await expect(migrate(database.url)).rejects.toThrow(/0001_hot_path.sql was changed/);
    await store.sql`update onedata.migrations set hash = substr(hash, 2) where number = 1`;
  });

  it("works on the schema of the next release, and refuses that of the one after", async () => {
    const insert = (release: number) =>
      store.sql`insert into onedata.migrations (number, name, hash, release) values (9000, '9000_future.sql', 'x', ${release})`;
    await insert(SCHEMA_RELEASE + 1);
    expect(await migrate(database.url)).toEqual([]);
    await store.sql`delete from onedata.migrations where number = 9000`;
    await insert(SCHEMA_RELEASE + 2);
    await expect(migrate(database.url)).rejects.toThrow(`the database has the schema of release ${SCHEMA_RELEASE + 2} (9000_future.sql)`);
    await store.sql`delete from onedata.migrations where number = 9000`;
  });

  it("takes up a table of migrations that an older version made", async () => {
    await store.sql`alter table onedata.migrations drop column release`;
    expect(await migrate(database.url)).toEqual([]);
    expect(await store.sql`select distinct release from onedata.migrations where number <= 6`).toEqual([{ release: 1 }]);
  });

  it("never holds up captures while it waits for a lock, and goes on when the lock is free", async () => {
    const { tenantId, pipelineId } = await createTestPipeline(store.sql);
    const target: CaptureTarget = { tenantId, pipelineId, version: 1, laneClass: "live", ordered: false };
    const application = postgres(database.url, { max: 1, connection: { application_name: "forgetful" } });
    const held = await application.reserve();
    await held`begin`;
    await held`select 1 from onedata.queue limit 1`;
    const said: string[] = [];
    const migrating = migrate(database.url, {
      migrations: [...readMigrations(), migration(9001, "alter table onedata.queue add column test_only int")],
      onWait: (message) => said.push(message),
    });
    const outcomes: string[] = [];
    while (said.length < 3) outcomes.push(...(await captureGroup(store, [{ target, events: [{ payload: "1" }] }])).flat().map(({ kind }) => kind));
    expect([...new Set(outcomes)]).toEqual(["captured"]);
    expect(said[1]).toMatch(/^9001_test.sql waits for a lock \(try 2\); the oldest open transaction is \d+ s old \(forgetful, process \d+\)$/);
    await held`commit`;
    held.release();
    await application.end();
    expect(await migrating).toEqual(["9001_test.sql"]);
    expect(await store.sql`select release from onedata.migrations where number = 9001`).toEqual([{ release: SCHEMA_RELEASE }]);
  });

  it("runs a file outside a transaction when it asks for that, and undoes a failing one whole", async () => {
    const known = [...readMigrations(), migration(9001, "")];
    await store.sql`delete from onedata.migrations where number = 9001`;
    const concurrent = migration(
      9002,
      "-- migrate: no transaction\ncreate index concurrently if not exists test_only on onedata.queue (version);\nselect 1;",
    );
    expect(await migrate(database.url, { migrations: [...known, concurrent] })).toEqual(["9001_test.sql", "9002_test.sql"]);
    const failing = migration(9003, "create table onedata.half (); select 1/0;");
    await store.sql`delete from onedata.migrations where number > 9000`;
    await expect(migrate(database.url, { migrations: [...readMigrations(), failing] })).rejects.toThrow(/division by zero/);
    expect(await store.sql`select to_regclass('onedata.half') as found`).toEqual([{ found: null }]);
    const slow = migration(9004, "select pg_sleep(5)");
    await expect(migrate(database.url, { migrations: [...readMigrations(), slow], statementTimeoutMs: 50 })).rejects.toThrow(
      /took longer than 0.05 s/,
    );
  });

  it("makes a missing day's partitions and only those", async () => {
    expect((await store.sql`select onedata.ensure_partitions(3) made`)[0]?.["made"]).toBe(0);
    expect((await store.sql`select onedata.ensure_partitions(4) made`)[0]?.["made"]).toBe(5);
  });
});
