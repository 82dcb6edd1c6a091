import { connect, createServer, type Socket } from "node:net";
import type { JsonObject } from "@onedata/core";
import { openTestDatabase, type TestDatabase } from "@onedata/store/testing";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { testContext, testGroup, testRecord } from "../conformance.ts";
import type { ConnectionConfig, SinkGroup, SinkRecord, WriteOutcomes } from "../sink.ts";
import { ledgerDdl } from "./ledger.ts";
import { createPools, readIdentity } from "./pools.ts";
import { openSinkDatabase } from "./testing.ts";
import { createPostgresWriter } from "./writer.ts";

let shared: TestDatabase;
beforeAll(async () => {
  shared = await openTestDatabase();
});
afterAll(() => shared[Symbol.asyncDispose]());

type Database = Awaited<ReturnType<typeof openSinkDatabase>>;

const insert = (
  database: { connection: ConnectionConfig },
  table: string,
  records: readonly SinkRecord[],
  rest: Partial<SinkGroup> = {},
  config: JsonObject = {},
): SinkGroup =>
  testGroup({ kind: "postgres.insert", config: { connection: "warehouse", table, ...config }, connection: database.connection }, records, rest);
const upsert = (database: Database, records: readonly SinkRecord[], config: JsonObject = {}): SinkGroup =>
  testGroup(
    { kind: "postgres.upsert", config: { connection: "warehouse", table: "t", key: ["id"], ...config }, connection: database.connection },
    records,
  );

const kinds = (outcomes: WriteOutcomes): Record<number, string> =>
  Object.fromEntries([...outcomes].map(([n, o]) => [n, o.kind === "failed" ? o.code : o.kind]));
const messageOf = (outcomes: WriteOutcomes, n: number): string => {
  const outcome = outcomes.get(n);
  return outcome?.kind === "failed" ? outcome.message : `not failed but ${outcome?.kind}`;
};

async function waitFor<T>(what: string, read: () => Promise<T>, done: (value: T) => boolean): Promise<T> {
  for (const end = Date.now() + 10_000; ; ) {
    const value = await read();
    if (done(value)) return value;
    if (Date.now() > end) throw new Error(`${what}: still ${JSON.stringify(value)}`);
    await new Promise((wake) => setTimeout(wake, 10));
  }
}

const waitForLockWaiters = (database: Database, count: number) =>
  waitFor(
    "sessions waiting for a lock",
    async () =>
      Number(
        (
          await database.sql`select count(*) from pg_stat_activity where datname = current_database() and application_name = 'onedata sink' and wait_event_type = 'Lock'`
        )[0]?.["count"],
      ),
    (n) => n === count,
  );

describe("a sink transaction", () => {
  it("writes the ledger before any row", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql.unsafe(`create table t (id int);
      create function demand_ledger() returns trigger language plpgsql as $$ begin
        if not exists (select from onedata_applied where done @> 0) then raise exception 'row before ledger'; end if; return new; end $$;
      create trigger demand before insert on t for each row execute function demand_ledger()`);
    expect(kinds(await database.writer.write([insert(database, "t", [testRecord(0, '{"id":1}')])], testContext()))).toEqual({ 0: "written" });
  });

  it("writes 200 groups with a table each in one commit", async () => {
    await using database = await openSinkDatabase(shared);
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

  it("stores or refuses all outputs of an event together", async () => {
    await using database = await openSinkDatabase(shared);
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
    await using database = await openSinkDatabase(shared);
    await database.sql`create table t (id int)`;
    const group = insert(database, "t", [testRecord(0, '{"id":1}', { n: 0 }), testRecord(1, "[1]", { n: 1 })], {
      empty: [
        { batchId: 1n, n: 2, generation: 0 },
        { batchId: 2n, n: 5, generation: 0 },
      ],
    });
    expect(kinds(await database.writer.write([group], testContext()))).toEqual({ 0: "written", 1: "record.not_an_object" });
    expect(await database.sql`select batch_id::text, done::text from onedata_applied order by 1`).toEqual([
      { batch_id: "1", done: "{[0,1),[2,3)}" },
      { batch_id: "2", done: "{[5,6)}" },
    ]);
  });

  it("takes an event that came twice in a call once", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table t (id int)`;
    const record = testRecord(0, '{"id":1}');
    const groups = [insert(database, "t", [record, { ...record, n: 1 }]), insert(database, "t", [{ ...record, n: 2 }])];
    expect(kinds(await database.writer.write(groups, testContext()))).toEqual({ 0: "written", 1: "duplicate", 2: "duplicate" });
    expect(await database.sql`select id from t`).toEqual([{ id: 1 }]);
  });

  it("parts by a constraint that is checked at the commit", async () => {
    await using database = await openSinkDatabase(shared);
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
    await using database = await openSinkDatabase(shared);
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

describe("effects happen once", () => {
  it("when the backend is killed inside the transaction", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table t (id int)`;
    const group = insert(
      database,
      "t",
      Array.from({ length: 50 }, (_, n) => testRecord(n, `{"id":${n}}`)),
    );
    const holder = await database.sql.reserve();
    await holder`begin`;
    await holder`lock table t in share mode`;
    const write = database.writer.write([group], testContext());
    await waitForLockWaiters(database, 1);
    await database.sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'onedata sink' and wait_event_type = 'Lock'`;
    const outcomes = await write;
    expect(new Set(Object.values(kinds(outcomes)))).toEqual(new Set(["sink.unavailable"]));
    await holder`rollback`;
    holder.release();
    expect(new Set(Object.values(kinds(await database.writer.write([group], testContext()))))).toEqual(new Set(["written"]));
    expect(await database.sql`select count(*)::int, count(distinct id)::int as ids from t`).toEqual([{ count: 50, ids: 50 }]);
  });

  it("when the answer to COMMIT is lost, also where the rows collide with themselves", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table t (id int primary key)`;
    await using proxy = await openProxy(database.url);
    const connection: ConnectionConfig = { name: "warehouse", kind: "postgres", config: { url: proxy.url } };
    const group = insert(
      { connection },
      "t",
      Array.from({ length: 50 }, (_, n) => testRecord(n, `{"id":${n}}`)),
    );
    await database.sql.unsafe(ledgerDdl("public"));
    proxy.loseNextCommit();
    expect(new Set(Object.values(kinds(await database.writer.write([group], testContext()))))).toEqual(new Set(["sink.unavailable"]));
    await waitFor(
      "the lost commit",
      async () => Number((await database.sql`select count(*) from t`)[0]?.["count"]),
      (n) => n === 50,
    );
    expect(new Set(Object.values(kinds(await database.writer.write([group], testContext()))))).toEqual(new Set(["duplicate"]));
    expect(await database.sql`select count(*)::int from t`).toEqual([{ count: 50 }]);
  });

  it("when a stalled writer and its successor overlap", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table t (id int)`;
    // The ledger must be there first: making it would wait, too, and hide what is tested.
    await database.writer.write([insert(database, "t", [testRecord(0, '{"id":1000}', { batchId: 9n })])], testContext());
    const records = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => testRecord(from + i, `{"id":${from + i}}`));
    await using successor = createPools();
    const holder = await database.sql.reserve();
    await holder`begin`;
    await holder`lock table t in share mode`;
    const stalled = database.writer.write([insert(database, "t", records(0, 60))], testContext());
    await waitForLockWaiters(database, 1);
    const next = createPostgresWriter(successor).write([insert(database, "t", records(40, 100))], testContext());
    await waitForLockWaiters(database, 2);
    await holder`rollback`;
    holder.release();
    expect(new Set(Object.values(kinds(await stalled)))).toEqual(new Set(["written"]));
    expect(kinds(await next)).toEqual(Object.fromEntries(records(40, 100).map(({ n }) => [n, n < 60 ? "duplicate" : "written"])));
    expect(await database.sql`select count(*)::int, count(distinct id)::int as ids from t where id < 1000`).toEqual([{ count: 100, ids: 100 }]);
  });

  it("while backends are killed at any moment, and every call is repeated until it succeeds", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table t (id int primary key)`;
    const calls = Array.from({ length: 40 }, (_, call) =>
      insert(
        database,
        "t",
        Array.from({ length: 20 }, (_unused, n) => testRecord(n, `{"id":${call * 20 + n}}`, { batchId: BigInt(call + 1) })),
      ),
    );
    const state = { open: calls.length, kills: 0 };
    const killer = (async () => {
      while (state.open > 0) {
        if (state.kills >= 150) break; // then they may finish in peace
        const rows =
          await database.sql`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'onedata sink' order by random() limit 1`;
        state.kills += rows.length;
      }
    })();
    const queue = [...calls];
    const work = async (): Promise<void> => {
      for (let group = queue.shift(); group !== undefined; group = queue.shift()) {
        for (let again = true; again; ) {
          const outcomes = kinds(await database.writer.write([group], testContext()));
          expect(Object.values(outcomes).filter((kind) => !["written", "duplicate", "sink.unavailable"].includes(kind))).toEqual([]);
          again = Object.values(outcomes).includes("sink.unavailable");
        }
        state.open -= 1;
      }
    };
    await Promise.all([work(), work(), work(), killer]);
    expect(state.kills).toBeGreaterThan(5);
    expect(await database.sql`select count(*)::int from t`).toEqual([{ count: 800 }]);
  });

  it("under any schedule of repeated and overlapping writes", async () => {
    await using database = await openSinkDatabase(shared);
    await using other = createPools({ connectionsPerPool: 2 });
    await database.sql`create table t (batch int, n int, k int)`;
    let batch = 0;
    const call = fc.record({
      from: fc.nat(11),
      length: fc.integer({ min: 1, max: 12 }),
      writer: fc.boolean(),
      generation: fc.nat(1),
      bad: fc.option(fc.nat(11)),
      outputs: fc.integer({ min: 0, max: 2 }),
      abort: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(call, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 4 }), async (rounds) => {
        batch += 1;
        const batchId = BigInt(batch);
        const good = new Map<string, number>();
        for (const round of rounds) {
          await Promise.all(
            round.map(async ({ from, length, writer, generation, bad, abort }) => {
              const sources = Array.from({ length }, (_, i) => ({ batchId, n: from + i, generation }));
              let n = 0;
              // Every event has (n mod 3) outputs; a bad one has a text in a number's place, in this call only.
              const records = sources.flatMap((source) =>
                Array.from({ length: source.n % 3 }, (_, k) => ({
                  ...testRecord(n++, `{"batch":${batch},"n":${source.n},"k":${source.n === bad ? '"bad"' : k}}`, source),
                  key: `${source.n}/${generation}/${k}`,
                })),
              );
              const controller = new AbortController();
              const write = createPostgresWriter(writer ? database.pools : other).write(
                [insert(database, "t", records, { empty: sources.filter((s) => s.n % 3 === 0) })],
                testContext(controller.signal),
              );
              if (abort) setImmediate(() => controller.abort());
              const outcomes = await write.catch(() => undefined);
              if (outcomes !== undefined) expect(outcomes.size).toBe(records.length);
              for (const record of records)
                if (outcomes?.get(record.n)?.kind === "written") good.set(`${record.key}`, (good.get(`${record.key}`) ?? 0) + 1);
            }),
          );
        }
        const rows = await database.sql<
          { n: number; k: number; times: number }[]
        >`select n, k, count(*)::int as times from t where batch = ${batch} group by n, k`;
        const ledger = await database.sql<
          { generation: number; n: number }[]
        >`select generation, n from onedata_applied, unnest(done) d, generate_series(lower(d), upper(d) - 1) n where batch_id = ${batch}`;
        // A row exists once per generation whose ledger names its event, and not otherwise.
        const expected = new Map<string, number>();
        for (const { n } of ledger) for (let k = 0; k < n % 3; k++) expected.set(`${n}/${k}`, (expected.get(`${n}/${k}`) ?? 0) + 1);
        expect(new Map(rows.map((row) => [`${row.n}/${row.k}`, row.times]))).toEqual(expected);
        for (const [key, times] of good) expect([key, times]).toEqual([key, 1]);
      }),
      { numRuns: 60 },
    );
  });
});

describe("what a table cannot take", () => {
  it("names the member that has no column, and sees a column that was just added", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table t (id int)`;
    const write = (n: number) =>
      database.writer.write([insert(database, "t", [testRecord(n, '{"id":1,"Colour":"red"}'), testRecord(n + 1, '{"id":2}')])], testContext());
    const outcomes = await write(0);
    expect(kinds(outcomes)).toEqual({ 0: "sink.rejected", 1: "written" });
    expect(messageOf(outcomes, 0)).toMatch(/member "Colour" has no column in public\.t/);
    await database.sql`alter table t add column "Colour" text`;
    expect(kinds(await write(2))).toEqual({ 2: "written", 3: "written" });
  });

  it("uses a column's new type when it was changed a moment ago", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table t (id int)`;
    await database.writer.write([insert(database, "t", [testRecord(0, '{"id":1}')])], testContext());
    await database.sql`alter table t alter column id type text`;
    expect(kinds(await database.writer.write([insert(database, "t", [testRecord(1, '{"id":"x"}')])], testContext()))).toEqual({ 1: "written" });
  });

  it("ignores unknown members on request, also those Postgres could not store", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table t (id int, name text, doc jsonb)`;
    const group = insert(
      database,
      "t",
      [
        testRecord(0, '{"id":1,"x":"\\u0000"}'),
        testRecord(1, '{"id":2,"name":"a\\u0000b"}'),
        testRecord(2, '{"id":3,"name":"back\\\\u0000slash"}'),
        testRecord(3, '{"id":4,"doc":{"a":["\\ud800"]}}'),
      ],
      {},
      { unknownMembers: "ignore" },
    );
    const outcomes = await database.writer.write([group], testContext());
    expect(kinds(outcomes)).toEqual({ 0: "written", 1: "sink.unstorable", 2: "written", 3: "sink.unstorable" });
    expect(messageOf(outcomes, 1)).toMatch(/column "name": the value holds \\u0000/);
    expect(await database.sql`select id, name from t order by id`).toEqual([
      { id: 1, name: null },
      { id: 3, name: "back\\u0000slash" },
    ]);
  });

  it("applies defaults where a member is missing, and null where it is null", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table t (id int, state text default 'new', serial int generated by default as identity, twice int generated always as (id * 2) stored)`;
    const records = ['{"id":1}', '{"id":2,"state":null}', '{"id":3,"state":"old"}', '{"id":4,"twice":1}', "{}"].map((json, n) => testRecord(n, json));
    const outcomes = await database.writer.write([insert(database, "t", records)], testContext());
    expect(kinds(outcomes)).toEqual({ 0: "written", 1: "written", 2: "written", 3: "sink.rejected", 4: "sink.rejected" });
    expect(messageOf(outcomes, 3)).toMatch(/"twice" .* is generated/);
    expect(await database.sql`select id, state, twice from t order by id`).toEqual([
      { id: 1, state: "new", twice: 2 },
      { id: 2, state: null, twice: 4 },
      { id: 3, state: "old", twice: 6 },
    ]);
  });

  it("maps columns from members and pointers, exactly", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table t (total numeric, city text, first text, tags text[], doc jsonb)`;
    const json = '{"t":12345678901234567890.10,"address":{"city":"Oslo","a/b":["x","y"]},"extra":1}';
    const group = insert(
      database,
      "t",
      [testRecord(0, json)],
      {},
      { columns: { total: "t", city: "/address/city", first: "/address/a~1b/0", tags: "/address/a~1b", doc: "address" } },
    );
    expect(kinds(await database.writer.write([group], testContext()))).toEqual({ 0: "written" });
    expect(await database.sql`select total::text, city, first, tags::text, doc::text from t`).toEqual([
      { total: "12345678901234567890.10", city: "Oslo", first: "x", tags: "{x,y}", doc: '{"a/b": ["x", "y"], "city": "Oslo"}' },
    ]);
  });

  it("refuses by length, range, missing value and raised exception with a message that helps", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql.unsafe(`create table t (id int not null, code varchar(3), small smallint, price numeric(4,1));
      create function no_thirteen() returns trigger language plpgsql as $$ begin if new.id = 13 then raise exception 'thirteen is unlucky'; end if; return new; end $$;
      create trigger unlucky before insert on t for each row execute function no_thirteen()`);
    const jsons = [
      '{"id":1}',
      '{"id":2,"code":"toolong"}',
      '{"id":3,"small":70000}',
      '{"code":"a"}',
      '{"id":13}',
      '{"id":5,"price":12345}',
      '{"id":{"a":1}}',
    ];
    const outcomes = await database.writer.write(
      [
        insert(
          database,
          "t",
          jsons.map((json, n) => testRecord(n, json)),
        ),
      ],
      testContext(),
    );
    expect(jsons.map((_, n) => messageOf(outcomes, n))).toEqual([
      "not failed but written",
      'column "code" (character varying(3)) cannot take "toolong": value too long for type character varying(3)',
      expect.stringMatching(/^column "small" \(smallint\) cannot take 70000: .*out of range for type smallint/),
      expect.stringMatching(/^column "id" \(integer\) cannot take a missing value: null value in column "id"/),
      "thirteen is unlucky",
      expect.stringMatching(/^column "price" \(numeric\(4,1\)\) cannot take 12345: numeric field overflow/),
      expect.stringMatching(/^column "id" \(integer\) cannot take \{"a":1\}: invalid input syntax for type integer/),
    ]);
  });

  it("makes no dead letter of a missing table or right", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql.unsafe("create table t (id int); create table closed (id int)");
    const role = `clerk_${Math.floor(Math.random() * 1e9)}`;
    await database.sql.unsafe(`create role ${role} login password 'x'; grant insert on t to ${role}; grant create on schema public to ${role}`);
    const url = new URL(database.url);
    url.username = role;
    url.password = "x";
    const connection: ConnectionConfig = { name: "warehouse", kind: "postgres", config: { url: url.href } };
    const groups = ["t", "closed", "absent"].map((table, n) => insert({ connection }, table, [testRecord(n, `{"id":${n}}`)], { sinkId: table }));
    const outcomes = await database.writer.write(groups, testContext());
    expect(kinds(outcomes)).toEqual({ 0: "written", 1: "sink.unavailable", 2: "sink.unavailable" });
    expect(messageOf(outcomes, 1)).toMatch(/permission denied for table closed/);
    expect(messageOf(outcomes, 2)).toMatch(/public\.absent does not exist/);
    await database.pools[Symbol.asyncDispose]();
    await database.sql.unsafe(`drop owned by ${role}; drop role ${role}`);
  });
});

describe("upsert", () => {
  it("leaves what one write after another would leave", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table t (id bigint primary key, a int, b text, c text default 'c')`;
    const members = fc.record({
      id: fc.constantFrom("1", '"1"', "2", "12345678901234567"),
      a: fc.option(fc.nat(5), { nil: undefined }),
      b: fc.option(fc.constantFrom('"x"', "null"), { nil: undefined }),
    });
    let batch = 100;
    await fc.assert(
      fc.asyncProperty(fc.array(members, { minLength: 1, maxLength: 8 }), fc.nat(8), async (records, cut) => {
        await database.sql`truncate t`;
        const jsons = records.map((r) => `{"id":${r.id}${r.a === undefined ? "" : `,"a":${r.a}`}${r.b === undefined ? "" : `,"b":${r.b}`}}`);
        const model = new Map<string, { a: number | null; b: string | null }>();
        for (const r of records) {
          const id = r.id.replaceAll('"', "");
          const row = model.get(id) ?? { a: null, b: null };
          if (r.a !== undefined) row.a = r.a;
          if (r.b !== undefined) row.b = r.b === "null" ? null : r.b.slice(1, -1);
          model.set(id, row);
        }
        const all = jsons.map((json, n) => testRecord(n, json, { batchId: BigInt(++batch), n: 0 }));
        for (const part of [all.slice(0, cut), all.slice(cut)])
          if (part.length > 0) await database.writer.write([upsert(database, part)], testContext());
        const rows = await database.sql<{ id: string; a: number; b: string; c: string }[]>`select id::text, a, b, c from t order by t.id`;
        expect(rows.map((row) => ({ ...row }))).toEqual(
          [...model].map(([id, row]) => ({ id, ...row, c: "c" })).sort((x, y) => Number(BigInt(x.id) - BigInt(y.id))),
        );
      }),
      { numRuns: 40 },
    );
  });

  it("never lets an older event overwrite a newer one where newerWins", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table t (id int primary key, v text, at_event numeric)`;
    const write = (...events: [bigint, number, string][]) =>
      database.writer.write(
        [
          upsert(
            database,
            events.map(([batchId, n, v], i) => testRecord(i, `{"id":1,"v":"${v}" } `, { batchId, n })),
            { newerWins: "at_event" },
          ),
        ],
        testContext(),
      );
    const now = async () => (await database.sql`select v from t`)[0]?.["v"];
    await write([5n, 1, "new"]);
    expect(kinds(await write([4n, 9, "old"]))).toEqual({ 0: "written" });
    expect(await now()).toBe("new");
    await write([7n, 2, "newest"], [6n, 0, "between"]);
    expect(await now()).toBe("newest");
    await write([1152921504606846976n, 3, "far"]);
    expect(await now()).toBe("far");
  });

  it("parts keys that only the column's type knows to be equal, in order", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table t (id timestamptz primary key, v int)`;
    const outcomes = await database.writer.write(
      [upsert(database, [testRecord(0, '{"id":"2026-01-01","v":1}'), testRecord(1, '{"id":"2026-01-01T00:00:00Z","v":2}')])],
      testContext(),
    );
    expect(kinds(outcomes)).toEqual({ 0: "written", 1: "written" });
    expect(await database.sql`select v from t`).toEqual([{ v: 2 }]);
  });

  it("refuses a record without its key", async () => {
    await using database = await openSinkDatabase(shared);
    await database.sql`create table t (id int primary key, v int)`;
    const outcomes = await database.writer.write([upsert(database, [testRecord(0, '{"v":1}'), testRecord(1, '{"id":1,"v":1}')])], testContext());
    expect(kinds(outcomes)).toEqual({ 0: "sink.rejected", 1: "written" });
  });
});

describe("a slow receiver", () => {
  it("costs its own records a later try, and its neighbours nothing", async () => {
    await using database = await openSinkDatabase(shared);
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

describe("pools", () => {
  it("refuse the platform's own database by whatever name, and allow its neighbour", async () => {
    await using platform = await openSinkDatabase(shared);
    await using neighbour = await openSinkDatabase(undefined);
    for (const database of [platform, neighbour]) await database.sql`create table t (id int)`;
    const own = await readIdentity({ query: (text) => platform.sql.unsafe(text) });
    await using pools = createPools({ platformDatabase: () => Promise.resolve(own) });
    const byOtherName: ConnectionConfig = { name: "x", kind: "postgres", config: { url: platform.url.replace("127.0.0.1", "localhost") } };
    const groups = [
      insert({ connection: byOtherName }, "t", [testRecord(0, '{"id":1}')]),
      insert(neighbour, "t", [testRecord(1, '{"id":1}')], { sinkId: "b" }),
    ];
    const outcomes = await createPostgresWriter(pools).write(groups, testContext());
    expect(kinds(outcomes)).toEqual({ 0: "sink.unavailable", 1: "written" });
    expect(messageOf(outcomes, 0)).toMatch(/platform's own database/);
    await using allowed = createPools({ platformDatabase: () => Promise.resolve(own), allowPlatformDatabase: true });
    expect(kinds(await createPostgresWriter(allowed).write(groups, testContext()))).toEqual({ 0: "written", 1: "duplicate" });
  });

  it("make room for another database by closing an idle one", async () => {
    await using first = await openSinkDatabase(shared);
    await using second = await openSinkDatabase(undefined);
    for (const database of [first, second]) await database.sql`create table t (id int)`;
    await using pools = createPools({ maxPools: 1 });
    const outcomes = await createPostgresWriter(pools).write(
      [insert(first, "t", [testRecord(0, '{"id":1}')]), insert(second, "t", [testRecord(1, '{"id":1}')], { sinkId: "b" })],
      testContext(),
    );
    expect(kinds(outcomes)).toEqual({ 0: "written", 1: "written" });
  });
});

/** A TCP proxy that can swallow the answer to a COMMIT and cut the line. */
async function openProxy(url: string) {
  const target = new URL(url);
  const sockets = new Set<Socket>();
  let lose = false;
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    let cut = false;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        client.destroy();
        upstream.destroy();
      });
    }
    client.on("data", (chunk) => {
      if (lose && /(?<!_)commit/i.test(chunk.toString("latin1"))) {
        lose = false;
        cut = true;
      }
      upstream.write(chunk);
    });
    upstream.on("data", (chunk) => (cut ? client.destroy() : client.write(chunk)));
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  const proxied = new URL(url);
  proxied.port = String(typeof address === "object" && address !== null ? address.port : 0);
  return {
    url: proxied.href,
    loseNextCommit: () => {
      lose = true;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((closed) => server.close(closed));
    },
  };
}
