/** What one call of the writer puts into one transaction, and what it takes apart. */
import { describe, expect, it } from "vitest";
import { testContext, testRecord } from "../conformance.ts";
import type { SinkGroup } from "../sink.ts";
import { openSinkDatabase } from "./testing.ts";
import { createPostgresWriter } from "./writer.ts";
import { insert, kinds, messageOf, upsert, useSinkDatabase, waitForLockWaiters } from "./writer-testing.ts";

const openOwn = useSinkDatabase();

describe("a sink transaction", () => {
  it("writes the ledger before any row", async () => {
    await using database = await openOwn();
    await database.sql.unsafe(`create table t (id int);
      create function demand_ledger() returns trigger language plpgsql as $$ begin
        if not exists (select from onedata_applied where done @> 0) then raise exception 'row before ledger'; end if; return new; end $$;
      create trigger demand before insert on t for each row execute function demand_ledger()`);
    expect(kinds(await database.writer.write([insert(database, "t", [testRecord(0, '{"id":1}')])], testContext()))).toEqual({ 0: "written" });
  });

  it("writes 200 groups with a table each in one commit", async () => {
    await using database = await openOwn();
    const tables = Array.from({ length: 200 }, (_, i) => i);
    await database.sql.unsafe(tables.map((i) => `create table t${i} (id int)`).join(";"));
    const outcomes = await database.writer.write(
      tables.map((i) => insert(database, `t${i}`, [testRecord(i, `{"id":${i}}`, { batchId: BigInt(1000 + i), n: 0 })])),
      testContext(),
    );
    expect(new Set(Object.values(kinds(outcomes)))).toEqual(new Set(["written"]));
    const rows = await database.sql.unsafe<{ xmin: string }[]>(
      `select distinct xmin::text from (${tables.map((i) => `select xmin from t${i}`).join(" union all ")}) x`,
    );
    expect(rows).toHaveLength(1);
  });

  it("writes 50 groups of one table in one statement, the last of equal keys wins, and parts them when one has a bad row", async () => {
    await using database = await openOwn();
    await database.sql.unsafe(`create table t (id int primary key, name text); create table statements (n int);
      create function note() returns trigger language plpgsql as $$ begin insert into statements values (1); return null; end $$;
      create trigger note after insert on t for each statement execute function note()`);
    const groups = (from: number, idOf: (i: number) => string): SinkGroup[] =>
      Array.from({ length: 50 }, (_, i) =>
        upsert(
          database,
          [testRecord(i, `{"id":${idOf(i)},"name":"g${i}"}`, { batchId: BigInt(from + i), n: 0 })],
          i % 2 === 0 ? {} : { unknownMembers: "ignore" },
        ),
      );
    const good = await database.writer.write(
      groups(2_000, (i) => String(i % 40)),
      testContext(),
    );
    expect(new Set(Object.values(kinds(good)))).toEqual(new Set(["written"]));
    expect((await database.sql`select count(*)::int as n from statements`)[0]?.["n"]).toBe(1);
    expect((await database.sql`select string_agg(name, ' ' order by id) as names from t where id < 12`)[0]?.["names"]).toBe(
      "g40 g41 g42 g43 g44 g45 g46 g47 g48 g49 g10 g11",
    );
    const mixed = await database.writer.write(
      groups(3_000, (i) => (i === 17 ? '"x"' : String(100 + i))),
      testContext(),
    );
    const { 17: bad, ...others } = kinds(mixed);
    expect([bad, new Set(Object.values(others))]).toEqual(["sink.rejected", new Set(["written"])]);
    expect((await database.sql`select count(*)::int as n from t where id >= 100`)[0]?.["n"]).toBe(49);
  });

  it("stores or refuses all outputs of an event together", async () => {
    await using database = await openOwn();
    await database.sql`create table t (id int)`;
    const records = [testRecord(0, '{"id":1}', { n: 7 }), testRecord(1, '{"id":"x"}', { n: 7 }), testRecord(2, '{"id":2}', { n: 8 })];
    const outcomes = await database.writer.write([insert(database, "t", records)], testContext());
    expect(kinds(outcomes)).toEqual({ 0: "sink.rejected", 1: "sink.rejected", 2: "written" });
    expect(messageOf(outcomes, 1)).toBe('column "id" (integer) cannot take "x": invalid input syntax for type integer: "x"');
    expect(messageOf(outcomes, 0)).toMatch(/^another output of this event was refused: column "id"/);
    expect(await database.sql`select id from t`).toEqual([{ id: 2 }]);
    expect(await database.sql`select batch_id::text, done::text from onedata_applied`).toEqual([{ batch_id: "1", done: "{[8,9)}" }]);
  });

  it("counts filtered events as done and leaves dead ones out", async () => {
    await using database = await openOwn();
    await database.sql`create table t (id int)`;
    const group = insert(database, "t", [testRecord(0, '{"id":1}', { n: 0 }), testRecord(1, "[1]", { n: 1 })], {
      empty: [
        { batchId: 1n, seq: 1n, n: 2, generation: 0 },
        { batchId: 2n, seq: 2n, n: 5, generation: 0 },
      ],
    });
    expect(kinds(await database.writer.write([group], testContext()))).toEqual({ 0: "written", 1: "record.not_an_object" });
    expect(await database.sql`select batch_id::text, done::text from onedata_applied order by 1`).toEqual([
      { batch_id: "1", done: "{[0,1),[2,3)}" },
      { batch_id: "2", done: "{[5,6)}" },
    ]);
  });

  it("takes an event that came twice in a call once", async () => {
    await using database = await openOwn();
    await database.sql`create table t (id int)`;
    const record = testRecord(0, '{"id":1}');
    const groups = [insert(database, "t", [record, { ...record, n: 1 }]), insert(database, "t", [{ ...record, n: 2 }])];
    expect(kinds(await database.writer.write(groups, testContext()))).toEqual({ 0: "written", 1: "duplicate", 2: "duplicate" });
    expect(await database.sql`select id from t`).toEqual([{ id: 1 }]);
  });

  it("parts by a constraint that is checked at the commit", async () => {
    await using database = await openOwn();
    await database.sql.unsafe(
      "create table parent (id int primary key); insert into parent select generate_series(0, 9); create table t (id int references parent deferrable initially deferred); create table u (id int)",
    );
    const records = Array.from({ length: 10 }, (_, n) => testRecord(n, `{"id":${n === 6 ? 99 : n}}`));
    const outcomes = await database.writer.write(
      [insert(database, "t", records), insert(database, "u", [testRecord(50, '{"id":1}', { batchId: 2n })])],
      testContext(),
    );
    expect(kinds(outcomes)).toEqual({ ...Object.fromEntries(records.map(({ n }) => [n, n === 6 ? "sink.rejected" : "written"])), 50: "written" });
    expect(messageOf(outcomes, 6)).toMatch(/constraint "t_id_fkey".*\(id\)=\(99\)/);
  });

  it("retries a deadlock with another application", async () => {
    await using database = await openOwn();
    await database.sql.unsafe("create table t (id int primary key, v int); insert into t values (1, 0), (2, 0)");
    const other = await database.sql.reserve();
    await other`begin`;
    await other`update t set v = 9 where id = 2`;
    const write = database.writer.write([upsert(database, [testRecord(0, '{"id":1,"v":5}'), testRecord(1, '{"id":2,"v":5}')])], testContext());
    await waitForLockWaiters(database, 1);
    // The other side waits for row 1 now: whoever is chosen as the victim, the sink's write must end well.
    await other`update t set v = 9 where id = 1`.then(
      () => other`commit`,
      () => other`rollback`,
    );
    other.release();
    expect(kinds(await write)).toEqual({ 0: "written", 1: "written" });
    expect(await database.sql`select v from t`).toEqual([{ v: 5 }, { v: 5 }]);
  });
});

describe("a slow receiver", () => {
  it("costs its own records a later try, and its neighbours nothing", async () => {
    await using database = await openOwn();
    await using other = await openSinkDatabase(undefined);
    for (const { sql } of [database, other]) await sql`create table t (id int)`;
    const holder = await database.sql.reserve();
    await holder`begin`;
    await holder`lock table t`;
    const groups = [insert(database, "t", [testRecord(0, '{"id":1}')]), insert(other, "t", [testRecord(1, '{"id":1}')])];
    const outcomes = await createPostgresWriter(database.pools, 1_000).write(groups, testContext());
    expect(kinds(outcomes)).toEqual({ 0: "sink.unavailable", 1: "written" });
    expect(messageOf(outcomes, 0)).toMatch(/took longer than 1000 ms/);
    await holder`rollback`;
    holder.release();
    expect(kinds(await database.writer.write(groups, testContext()))).toEqual({ 0: "written", 1: "duplicate" });
  });
});
