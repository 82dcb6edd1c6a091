import type { JsonObject, Violation } from "@onedata/core";
import { openTestDatabase, type TestDatabase } from "@onedata/store/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ConnectionConfig } from "../sink.ts";
import { checkPostgresSink } from "./check.ts";
import { readPostgresConnection, toDriverOptions } from "./connection-config.ts";
import { openSinkDatabase } from "./testing.ts";

let shared: TestDatabase;
beforeAll(async () => {
  shared = await openTestDatabase();
});
afterAll(() => shared[Symbol.asyncDispose]());

type Database = Awaited<ReturnType<typeof openSinkDatabase>>;
const check = (database: Database, config: JsonObject, connection: ConnectionConfig = database.connection): Promise<readonly Violation[]> =>
  checkPostgresSink("key" in config ? "postgres.upsert" : "postgres.insert", database.pools, {
    config: { connection: "warehouse", ...config },
    connection,
    tenant: "t",
    signal: new AbortController().signal,
  });
const found = (violations: readonly Violation[]): string[] => violations.map((v) => `${v.pointer}: ${v.detail}`);

describe("checking a Postgres sink", () => {
  it("accepts what will work, and writes nothing", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table orders (id int primary key, price numeric, at_event numeric)`;
    expect(await check(database, { table: "orders", key: ["id"], newerWins: "at_event" })).toEqual([]);
    expect(await database.sql`select to_regclass('onedata_applied') is null as clean`).toEqual([{ clean: true }]);
  });

  it("takes the schema before the table's name, as lookups do", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create schema tt`;
    await database.sql`create table tt.types (id int primary key)`;
    await database.sql`create table tt."a.b" (id int primary key)`;
    expect(await check(database, { table: "tt.types", key: ["id"] })).toEqual([]);
    expect(await check(database, { schema: "tt", table: "a.b", key: ["id"] })).toEqual([]);
    expect(found(await check(database, { table: "tt.absent" }))).toEqual([expect.stringMatching(/^\/table: table tt\.absent does not exist/)]);
  });

  it("names table, columns, keys and types that are wrong, each at its place", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table orders (id int, part int, name text not null, twice int generated always as (id * 2) stored, stamp timestamptz)`;
    await database.sql`create unique index on orders (part, id) where id > 0`;
    expect(found(await check(database, { table: "order" }))).toEqual([expect.stringMatching(/^\/table: table public\.order does not exist/)]);
    expect(found(await check(database, { table: "orders", key: ["id", "nope"] }))).toEqual([
      expect.stringMatching(/^\/key: public\.orders has no column "nope"; it has: id, part, name/),
    ]);
    expect(
      found(
        await check(database, { table: "orders", key: ["id", "part"], newerWins: "stamp", columns: { id: "i", part: "p", twice: "t", gone: "g" } }),
      ),
    ).toEqual([
      expect.stringMatching(/^\/columns\/twice: .*generated/),
      expect.stringMatching(/^\/columns\/gone: .*no column "gone"/),
      expect.stringMatching(/^\/columns: column "name" .* may not be null/),
      expect.stringMatching(/^\/newerWins: .*it must be numeric/),
      expect.stringMatching(/^\/key: .*no unique index on \(id, part\): create unique index on "public"\."orders" \("id", "part"\)/),
    ]);
    await database.sql`create unique index on orders (part, id)`;
    expect(await check(database, { table: "orders", key: ["id", "part"] })).toEqual([]);
  });

  it("tells missing rights, and what a DBA runs", async () => {
    await using database = await openSinkDatabase(shared);
    const role = `clerk_${process.pid}`;
    await database.sql.unsafe(
      `create table orders (id int primary key); create role ${role} login password 'x'; grant insert, select on orders to ${role}`,
    );
    const url = new URL(database.url);
    url.username = role;
    url.password = "x";
    const connection: ConnectionConfig = { name: "warehouse", kind: "postgres", config: { url: url.href } };
    const before = found(await check(database, { table: "orders", key: ["id"] }, connection));
    expect(before).toEqual([
      expect.stringMatching(/^\/table: role clerk_\d+ lacks UPDATE .*grant update on/),
      expect.stringMatching(/^\/connection: .*let a DBA run: create table if not exists "public"\.onedata_applied/),
    ]);
    // Exactly what it says is enough.
    for (const text of before)
      for (const statement of (/(?:grant update|create table).*/.exec(text)?.[0] ?? "").split(";")) await database.sql.unsafe(statement);
    expect(await check(database, { table: "orders", key: ["id"] }, connection)).toEqual([]);
    await database.pools[Symbol.asyncDispose]();
    await database.sql.unsafe(`drop owned by ${role}; drop role ${role}`);
  });

  it("says what is wrong with a config or a connection without a secret in it", async () => {
    await using database = await openSinkDatabase(shared);
    expect(found(await check(database, { tabel: "x", unknownMembers: "drop" }))).toEqual([
      expect.stringMatching(/^\/table: table is required/),
      expect.stringMatching(/^\/unknownMembers: .*known: reject, ignore/),
      expect.stringMatching(/^\/tabel: unknown member/),
    ]);
    const away: ConnectionConfig = {
      name: "away",
      kind: "postgres",
      config: { host: "127.0.0.1", port: 1, database: "d", user: "u", password: "s3cret" },
    };
    const answer = found(await check(database, { table: "x" }, away));
    expect(answer).toEqual([expect.stringMatching(/^\/connection: away: connect ECONNREFUSED/)]);
    expect(answer.join()).not.toContain("s3cret");
  });
});

describe("a postgres connection", () => {
  it("reads URLs and members, and refuses sockets, lists and other schemes", () => {
    expect(readPostgresConnection({ url: "postgres://a%40b:p%2Fw@[::1]:6543/my%20db?sslmode=verify-full" })).toEqual({
      host: "::1",
      port: 6543,
      database: "my db",
      user: "a@b",
      password: "p/w",
      tls: "verify-full",
      schema: "public",
    });
    expect(readPostgresConnection({ url: "postgres://u@h/d", password: "later", schema: "x" })).toMatchObject({
      password: "later",
      schema: "x",
      tls: "disable",
    });
    for (const config of [
      { url: "mysql://u@h/d" },
      { host: "/var/run", database: "d", user: "u" },
      { host: "a,b", database: "d", user: "u" },
      { host: "h" },
      { url: "postgres://h/d" },
    ])
      expect(() => readPostgresConnection(config)).toThrow(/postgres connection/);
  });

  it("commits on disk and verifies the server it was told to verify", () => {
    const options = toDriverOptions(readPostgresConnection({ url: "postgres://u:p@h/d?sslmode=verify-full" }), {
      applicationName: "test",
      isReadOnly: false,
      connectSeconds: 5,
      statementMs: 1,
      lockMs: 2,
      idleInTransactionMs: 3,
    });
    expect(options).toMatchObject({
      ssl: { rejectUnauthorized: true, servername: "h" },
      connection: { synchronous_commit: "on", statement_timeout: 1 },
    });
  });
});
