/** Against real databases. */
import { openTestDatabase, type TestDatabase } from "@onedata/store/testing";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { identityOfUrl } from "../postgres/pools.ts";
import type { ConnectionConfig } from "../sink.ts";
import type { FoundRow, LookupQuery } from "./lookup.ts";
import { createPostgresLookups, type PostgresLookups, type PostgresLookupsOptions } from "./postgres-lookups.ts";

let database: TestDatabase;
let sql: postgres.Sql;
beforeAll(async () => {
  database = await openTestDatabase();
  sql = postgres(database.url, { max: 2, onnotice: () => undefined });
  await sql.unsafe(`
    create type "Mood" as enum ('glad', 'sad');
    create table countries (code text primary key, name text, people bigint, area numeric, "odd ""name" text);
    insert into countries values ('NO', 'Norway', 5500000, 385207.00, 'x'), ('JP', 'Japan', 12345678901234567, 377975.1, null), ('47', 'Forty-seven', 1, 1, '');
    create table typed (i int primary key, u uuid unique, d date, m "Mood", c char(2), v varchar(2), n numeric, name text);
    insert into typed values (47, '6f1c9a52-0c1e-4a8c-9a53-1b6b9f0f0b11', '2026-01-31', 'glad', 'NO', 'NO', 1.50, 'row');
    create table twins (code text, name text);
    insert into twins select case when i <= 3 then 'A' else 'B' || i end, 'n' || i from generate_series(1, 50) i;
    create index on twins (code);
    create table wide (code text primary key, body text);
    insert into wide values ('small', 'x'), ('large', repeat('é', 20000));
    create materialized view summary as select 'NO' as code, 3 as orders;
    create view slow as select 'NO' as code, pg_sleep(60)::text as name;
    create table shapes (p point, name text);
    create schema shop; create table shop."a.b" (code text primary key, name text); insert into shop."a.b" values ('NO', 'dotted');`);
});
afterAll(async () => {
  await sql.end({ timeout: 5 });
  await database[Symbol.asyncDispose]();
});

const signal = new AbortController().signal;
const warehouse = (more: object = {}): ConnectionConfig => ({ name: "warehouse", kind: "postgres", config: { url: database.url, ...more } });
const query = (more: Partial<LookupQuery>): LookupQuery => ({
  schema: undefined,
  table: "countries",
  column: "code",
  take: ["name"],
  keys: ["NO"],
  maxAgeMs: 0,
  ...more,
});
const find = (lookups: PostgresLookups, more: Partial<LookupQuery> = {}, connection = warehouse(), tenant = "1") =>
  lookups.find({ tenant, connection, signal }, query(more));
const rowsOf = (found: ReadonlyMap<string, FoundRow>) =>
  Object.fromEntries([...found].map(([key, row]) => [key, row.kind === "row" ? row.row : row.kind]));

describe("rows of a table", () => {
  it("come by key, with the taken columns only, exact, whatever their names", async () => {
    await using lookups = createPostgresLookups();
    const found = await find(lookups, {
      take: ["people", "area", 'odd "name'],
      keys: ["NO", "JP", "XX", 'N"O', "'; drop table countries; --", "a\0b", "\ud800"],
    });
    expect([...found.keys()].sort()).toEqual(["JP", "NO"]);
    expect(JSON.stringify(rowsOf(found)["NO"])).toBe('{"people":5500000,"area":385207,"odd \\"name":"x"}');
    expect(String((rowsOf(found)["JP"] as { people: unknown }).people)).toBe("12345678901234567");
    expect(rowsOf(await find(lookups, { keys: ["47"] }))).toEqual({ 47: { name: "Forty-seven" } });
  });

  it("are found by keys of any type; what is no value of the type has no row, and harms no neighbour", async () => {
    await using lookups = createPostgresLookups();
    const by = async (column: string, keys: readonly string[]) => [...(await find(lookups, { table: "typed", column, keys })).keys()];
    expect(await by("i", ["47", "047", "abc", "99999999999", "4.7", ""])).toEqual(expect.arrayContaining(["47", "047"]));
    expect(await by("i", ["abc", "47"])).toEqual(["47"]);
    expect(await by("u", ["6F1C9A52-0C1E-4A8C-9A53-1B6B9F0F0B11", "no"])).toEqual(["6F1C9A52-0C1E-4A8C-9A53-1B6B9F0F0B11"]);
    expect(await by("d", ["2026-01-31", "2026-02-31"])).toEqual(["2026-01-31"]);
    expect(await by("m", ["glad", "angry"])).toEqual(["glad"]);
    expect(await by("n", ["1.5", "x"])).toEqual(["1.5"]);
    expect(await by("c", ["nothing"])).toEqual([]);
    // A cast to the column's full type would cut the longer key.
    expect(await by("c", ["NO", "NORWAY"])).toEqual(["NO"]);
    expect(await by("v", ["NO", "NORWAY"])).toEqual(["NO"]);
  });

  it("cost one statement, however many keys there are", async () => {
    await using own = await openTestDatabase();
    const its = postgres(own.url, { max: 1, onnotice: () => undefined });
    await its`create table twins as select i::text as code, 'n' || i as name from generate_series(1, 1000) i`;
    await its.end();
    // Sessions hand in their figures as they end.
    const figures = async (): Promise<number> => {
      for (;;) {
        const [row] = await sql<{ open: number; n: number }[]>`
          select (select count(*)::int from pg_stat_activity where datname = ${own.name}) as open, xact_commit::int as n from pg_stat_database where datname = ${own.name}`;
        if (row?.open === 0) return row.n;
      }
    };
    // Autovacuum commits now and then, too.
    const cost = async (keys: readonly string[]): Promise<number> => Math.min(await costOnce(keys), await costOnce(keys), await costOnce(keys));
    const costOnce = async (keys: readonly string[]): Promise<number> => {
      const before = await figures();
      {
        await using lookups = createPostgresLookups();
        expect((await find(lookups, { table: "twins", keys }, warehouse({ url: own.url }))).size).toBe(keys.length);
      }
      return (await figures()) - before;
    };
    const one = await cost(["1"]);
    expect(one).toBeGreaterThan(0);
    expect(await cost(Array.from({ length: 500 }, (_, i) => String(i + 1)))).toBe(one);
  });

  it("of one key that are several are ambiguous, in any number", async () => {
    await using lookups = createPostgresLookups();
    expect(rowsOf(await find(lookups, { table: "twins", keys: ["A", "B4", "C"] }))).toEqual({ A: "ambiguous", B4: { name: "n4" } });
  });

  it("that are too large are named and not carried", async () => {
    await using lookups = createPostgresLookups();
    const found = await find(lookups, { table: "wide", take: ["body"], keys: ["small", "large"] });
    expect(found.get("large")).toEqual({ kind: "too_large", bytes: 40_011 });
    expect(found.get("small")).toMatchObject({ kind: "row", row: { body: "x" } });
  });

  it("come from views and schemas by their plain names", async () => {
    await using lookups = createPostgresLookups();
    expect(rowsOf(await find(lookups, { table: "summary", take: ["orders"] }))).toEqual({ NO: { orders: 3 } });
    expect(rowsOf(await find(lookups, { schema: "shop", table: "a.b" }))).toEqual({ NO: { name: "dotted" } });
    expect(rowsOf(await find(lookups, { table: "a.b" }, warehouse({ schema: "shop" })))).toEqual({ NO: { name: "dotted" } });
  });

  it("follow a table that was changed under the lookup", async () => {
    await using lookups = createPostgresLookups();
    await sql`create table moving (code int primary key, name text)`;
    await sql`insert into moving values (1, 'one')`;
    expect(rowsOf(await find(lookups, { table: "moving", keys: ["1"] }))).toEqual({ 1: { name: "one" } });
    await sql`alter table moving alter column code type text, add column more text default 'm'`;
    expect(rowsOf(await find(lookups, { table: "moving", keys: ["1"], take: ["more"] }))).toEqual({ 1: { more: "m" } });
    await sql`drop table moving`;
    await expect(find(lookups, { table: "moving", keys: ["1"] })).rejects.toMatchObject({
      code: "connection.unavailable",
      message: expect.stringMatching(/public\.moving does not exist/),
    });
  });
});

describe("the cache", () => {
  it("keeps found rows for the time that is asked for, and never that there is none", async () => {
    let nowMs = 0;
    await using lookups = createPostgresLookups({ nowMs: () => nowMs });
    await sql`create table cached (code text primary key, name text)`;
    await sql`insert into cached values ('a', 'first')`;
    const read = async (maxAgeMs: number) => rowsOf(await find(lookups, { table: "cached", keys: ["a", "b"], maxAgeMs }));
    expect(await read(10_000)).toEqual({ a: { name: "first" } });
    await sql`update cached set name = 'second'`;
    await sql`insert into cached values ('b', 'new')`;
    nowMs = 9_999;
    expect(await read(10_000)).toEqual({ a: { name: "first" }, b: { name: "new" } });
    expect(await read(0)).toEqual({ a: { name: "second" }, b: { name: "new" } });
    expect((await read(10_000))["a"]).toEqual({ name: "first" });
    nowMs = 10_000;
    expect((await read(10_000))["a"]).toEqual({ name: "second" });
  });

  it("answers without the database what it has, for its own tenant, connection and columns only", async () => {
    await using lookups = createPostgresLookups();
    await using other = await openTestDatabase();
    const its = postgres(other.url, { max: 1, onnotice: () => undefined });
    await its`create table countries (code text primary key, name text)`;
    await its`insert into countries values ('NO', 'Somebody else''s')`;
    await its.end();
    const kept = { maxAgeMs: 60_000 };
    expect(rowsOf(await find(lookups, kept))).toEqual({ NO: { name: "Norway" } });
    expect(rowsOf(await find(lookups, kept, { ...warehouse(), config: { url: other.url } }, "2"))).toEqual({ NO: { name: "Somebody else's" } });
    expect(rowsOf(await find(lookups, { ...kept, take: ["people"] }))).toEqual({ NO: { people: 5500000 } });
    const closed = warehouse({ url: database.url.replace(/:[^:@]+@/, ":wrong@").replace("postgres:", "postgresql:"), user: "nobody" });
    await expect(find(lookups, kept, closed)).rejects.toMatchObject({ code: "connection.unavailable" });
  });

  it("stays within its bytes", async () => {
    await using lookups = createPostgresLookups({ cacheBytes: 5_000 });
    const keys = Array.from({ length: 47 }, (_, i) => `B${i + 4}`);
    expect((await find(lookups, { table: "twins", keys, maxAgeMs: 60_000 })).size).toBe(47);
    await sql`update twins set name = 'changed'`;
    const again = Object.values(rowsOf(await find(lookups, { table: "twins", keys, maxAgeMs: 60_000 })));
    const kept = again.filter((row) => typeof row === "object" && row["name"] !== "changed");
    expect(kept.length).toBeGreaterThan(0);
    expect(kept.length).toBeLessThan(12);
  });
});

describe("what keeps a lookup from its rows", () => {
  const refused = async (options: PostgresLookupsOptions, connection: ConnectionConfig, more: Partial<LookupQuery> = {}) => {
    await using lookups = createPostgresLookups(options);
    return await find(lookups, more, connection).then(
      () => "found",
      (error: { code: string; message: string }) => `${error.code} ${error.message}`,
    );
  };

  it("is a fault of the connection, with its address and without its secret", async () => {
    const dead = await refused({}, warehouse({ url: "postgres://ana:s3cret@127.0.0.1:1/shop" }));
    expect(dead).toMatch(/^connection\.unavailable 127\.0\.0\.1:1\/shop: .*ECONNREFUSED/);
    expect(dead).not.toContain("s3cret");
    expect(await refused({}, { name: "hook", kind: "http", config: {} })).toMatch(/hook" is of kind http/);
    expect(await refused({}, warehouse(), { table: "planets" })).toMatch(/public\.planets does not exist/);
    expect(await refused({}, warehouse(), { take: ["capital"] })).toMatch(/has no column "capital"; it has: code, name/);
    expect(await refused({}, warehouse(), { table: "shapes", column: "p", keys: ["(1,2)"] })).toMatch(/operator does not exist/);
  });

  it("is an address that the operator does not allow, or the platform's own database", async () => {
    expect(await refused({ allowedAddresses: [] }, warehouse())).toMatch(/private or local address/);
    expect(await refused({ platformDatabase: identityOfUrl(database.url) }, warehouse())).toMatch(/the platform's own database/);
    expect(await refused({ platformDatabase: identityOfUrl(database.url), allowPlatformDatabase: true }, warehouse())).toBe("found");
  });

  it("is a query that does not end in time: the caller is not kept, and the next one hears of it at once", async () => {
    let nowMs = 0;
    await using lookups = createPostgresLookups({ budgetMs: 2_000, nowMs: () => nowMs });
    const slow = find(lookups, { table: "slow", take: ["name"] });
    nowMs = 2_000;
    await expect(slow).rejects.toMatchObject({ code: "connection.unavailable", message: expect.stringMatching(/no answer within 2000 ms/) });
    nowMs = 5_999;
    const again = await find(lookups, { table: "slow", take: ["name"] }).catch((error: Error) => error.message);
    expect(again).toMatch(/no answer within 2000 ms/);
    expect(rowsOf(await find(lookups))).toEqual({ NO: { name: "Norway" } });
  });

  it("is not a caller that gave up", async () => {
    await using lookups = createPostgresLookups();
    const gone = new AbortController();
    const waiting = lookups.find({ tenant: "1", connection: warehouse(), signal: gone.signal }, query({ table: "slow", take: ["name"] }));
    gone.abort();
    await expect(waiting).rejects.toMatchObject({ code: "aborted" });
  });

  it("passes: rows come as soon as the database is back", async () => {
    let nowMs = 0;
    await using lookups = createPostgresLookups({ nowMs: () => nowMs });
    await using other = await openTestDatabase();
    const connection = warehouse({ url: other.url });
    const its = postgres(other.url, { max: 1, onnotice: () => undefined });
    await its`create table countries (code text primary key, name text)`;
    await its`insert into countries values ('NO', 'Norway')`;
    await its.end();
    expect(rowsOf(await find(lookups, {}, connection))).toEqual({ NO: { name: "Norway" } });
    await sql.unsafe(`alter database ${other.name} allow_connections false`);
    await sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = ${other.name}`;
    await expect(find(lookups, {}, connection)).rejects.toMatchObject({ code: "connection.unavailable" });
    nowMs += 60_000;
    await expect(find(lookups, {}, connection)).rejects.toMatchObject({ code: "connection.unavailable" });
    await sql.unsafe(`alter database ${other.name} allow_connections true`);
    nowMs += 60_000;
    expect(rowsOf(await find(lookups, {}, connection))).toEqual({ NO: { name: "Norway" } });
  });
});

it("reads only: a function behind a view cannot write", async () => {
  await using lookups = createPostgresLookups();
  await sql.unsafe(`create table seen (at timestamptz);
    create function note() returns text language plpgsql as $$ begin insert into seen values (now()); return 'x'; end $$;
    create view noting as select 'NO' as code, note() as name;`);
  await expect(find(lookups, { table: "noting" })).rejects.toMatchObject({ message: expect.stringMatching(/read-only transaction/) });
  expect(await sql`select count(*)::int as n from seen`).toEqual([{ n: 0 }]);
});

describe("checking a table", () => {
  const check = async (more: Partial<LookupQuery>, connection = warehouse()) => {
    await using lookups = createPostgresLookups();
    const problems = await lookups.check({ tenant: "1", connection, signal }, query(more));
    return problems.map(
      ({ member, column, detail, isWarning }) => `${isWarning ? "warning " : ""}${member}${column === undefined ? "" : `/${column}`}: ${detail}`,
    );
  };

  it("accepts what works, and warns where no index serves it", async () => {
    expect(await check({})).toEqual([]);
    expect(await check({ table: "summary", take: ["orders"] })).toEqual([expect.stringMatching(/^warning column: no index begins with "code"/)]);
    expect(await check({ column: "name", take: ["code"] })).toEqual([
      'warning column: no index begins with "name", so each call reads all of public.countries: create unique index on "public"."countries" ("name")',
    ]);
  });

  it("names what does not, each at its place", async () => {
    expect(await check({ table: "planets" })).toEqual([expect.stringMatching(/^table: table public\.planets does not exist in .*: create it/)]);
    expect(await check({ column: "kode", take: ["name", "capital"] })).toEqual([
      expect.stringMatching(/^column: public\.countries has no column "kode"; it has: code, name/),
      expect.stringMatching(/^take\/capital: .*no column "capital"/),
    ]);
    expect(await check({ table: "shapes", column: "p" })).toEqual([expect.stringMatching(/^table: .*"p" \(point\): operator does not exist/)]);
    expect(await check({}, warehouse({ url: "postgres://ana:s3cret@127.0.0.1:1/shop" }))).toEqual([
      expect.stringMatching(/^connection: warehouse: 127\.0\.0\.1:1\/shop: .*ECONNREFUSED/),
    ]);
  });

  it("names rights that are lacking, down to the column", async () => {
    const role = `reader_${database.name}`;
    await sql.unsafe(`create role ${role} login password 'pw'; grant select (code) on countries to ${role}`);
    try {
      const url = new URL(database.url);
      url.username = role;
      url.password = "pw";
      expect(await check({}, warehouse({ url: url.href }))).toEqual([
        expect.stringMatching(new RegExp(`^take/name: role ${role} may not read "name"`)),
      ]);
    } finally {
      await sql.unsafe(`drop owned by ${role}; drop role ${role}`);
    }
  });
});
