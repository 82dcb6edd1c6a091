/** Every effect happens once: through kills, lost answers, overlapping writers and repeats. */
import { connect, createServer, type Socket } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { testContext, testRecord } from "../conformance.ts";
import type { ConnectionConfig } from "../sink.ts";
import { ledgerDdl } from "./ledger.ts";
import { createPools } from "./pools.ts";
import { createPostgresWriter } from "./writer.ts";
import { insert, kinds, useSinkDatabase, waitFor, waitForLockWaiters } from "./writer-testing.ts";

const openOwn = useSinkDatabase();

describe("effects happen once", () => {
  it("when the backend is killed inside the transaction", async () => {
    await using database = await openOwn();
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
    await using database = await openOwn();
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
    await using database = await openOwn();
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
    await using database = await openOwn();
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
  }, 120_000);

  it("under any schedule of repeated and overlapping writes", async () => {
    await using database = await openOwn();
    await using other = createPools({ connectionsPerPool: 2 });
    await database.sql`create table t (batch int, n int, k int)`;
    // The first writes may all be aborted before they make it.
    await database.sql.unsafe(ledgerDdl("public"));
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
              const sources = Array.from({ length }, (_, i) => ({ batchId, seq: batchId, n: from + i, generation }));
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
  }, 120_000);
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
