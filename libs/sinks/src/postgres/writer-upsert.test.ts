/** Upserts: what repeated keys, missing members and older events leave behind. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { testContext, testRecord } from "../conformance.ts";
import { kinds, upsert, useSinkDatabase } from "./writer-testing.ts";

const openOwn = useSinkDatabase();

describe("upsert", () => {
  it("leaves what one write after another would leave", async () => {
    await using database = await openOwn();
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
    await using database = await openOwn();
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

  it("orders events by capture, not by ids that carry a clock; what older releases kept there is older", async () => {
    await using database = await openOwn();
    await database.sql`create table t (id int primary key, v text, at_event numeric)`;
    const write = async (v: string, source: { batchId: bigint; seq: bigint; n: number }) => {
      await database.writer.write([upsert(database, [testRecord(0, `{"id":1,"v":"${v}"}`, source)], { newerWins: "at_event" })], testContext());
      return (await database.sql`select v from t`)[0]?.["v"];
    };
    expect(await write("of the release before", { batchId: 1n << 60n, seq: 0n, n: 0 })).toBe("of the release before");
    expect(await write("second", { batchId: 900n, seq: 2n, n: 0 })).toBe("second");
    expect(await write("first, its clock was ahead", { batchId: 1000n, seq: 1n, n: 0 })).toBe("second");
    expect(await write("third", { batchId: 800n, seq: 3n, n: 0 })).toBe("third");
  });

  it("parts keys that only the column's type knows to be equal, in order", async () => {
    await using database = await openOwn();
    await database.sql`create table t (id timestamptz primary key, v int)`;
    const outcomes = await database.writer.write(
      [upsert(database, [testRecord(0, '{"id":"2026-01-01","v":1}'), testRecord(1, '{"id":"2026-01-01T00:00:00Z","v":2}')])],
      testContext(),
    );
    expect(kinds(outcomes)).toEqual({ 0: "written", 1: "written" });
    expect(await database.sql`select v from t`).toEqual([{ v: 2 }]);
  });

  it("refuses a record without its key", async () => {
    await using database = await openOwn();
    await database.sql`create table t (id int primary key, v int)`;
    const outcomes = await database.writer.write([upsert(database, [testRecord(0, '{"v":1}'), testRecord(1, '{"id":1,"v":1}')])], testContext());
    expect(kinds(outcomes)).toEqual({ 0: "sink.rejected", 1: "written" });
  });
});
