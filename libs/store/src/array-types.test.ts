import { createServer, connect as dial, type Socket } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, type Sql } from "./connection.ts";
import { openTestDatabase, type TestDatabase } from "./testing.ts";

describe("arrays without asking the server for its types", () => {
  let database: TestDatabase;
  let sql: Sql;
  beforeAll(async () => {
    database = await openTestDatabase();
    sql = connect(database.url, { max: 1, applicationName: "arrays" });
  });
  afterAll(async () => {
    await sql.end();
    await database[Symbol.asyncDispose]();
  });

  it("reads what Postgres says of every kind", async () => {
    const [row] = await sql`
      select array[1, null, 3] ints, array[9007199254740993]::int8[] bigs, array[true, false] bools, array['\\x00ff'::bytea] bytes, array[1.5]::float8[] floats,
             array['{"a": [1]}'::jsonb] docs, array[['a', 'b'], ['c', 'd']] nested, '{}'::text[] nothing, array['2026-01-02T03:04:05Z'::timestamptz] times,
             array['3b9aca00-0000-4000-8000-000000000000'::uuid] ids`;
    expect(row).toEqual({
      ints: [1, null, 3],
      bigs: [9007199254740993n],
      bools: [true, false],
      bytes: [Buffer.from([0, 255])],
      floats: [1.5],
      docs: [{ a: [1] }],
      nested: [
        ["a", "b"],
        ["c", "d"],
      ],
      nothing: [],
      times: [new Date("2026-01-02T03:04:05Z")],
      ids: ["3b9aca00-0000-4000-8000-000000000000"],
    });
  });

  it("brings back any texts, and reads them as Postgres does", async () => {
    const texts = fc.array(
      fc.string({ unit: "binary" }).filter((value) => !value.includes("\u0000")),
      { maxLength: 6 },
    );
    await fc.assert(
      fc.asyncProperty(texts, async (values) => {
        const [row] = await sql<{ same: string[]; n: number }[]>`select ${values}::text[] as same, cardinality(${values}::text[]) as n`;
        expect(row).toEqual({ same: values, n: values.length });
      }),
      { numRuns: 30 },
    );
  });

  it("lends a connection of a pool that has none open yet", async () => {
    const fresh = connect(database.url, { max: 3, applicationName: "reserved" });
    const lent = await fresh.reserve();
    expect(await lent`select 1 as one`).toEqual([{ one: 1 }]);
    lent.release();
    await fresh.end();
  });

  it("rejects where somebody listens, and nowhere else, when the server is gone at any moment of a connect", async () => {
    const unheard: unknown[] = [];
    const hear = (error: unknown): void => void unheard.push(error);
    process.on("unhandledRejection", hear);
    try {
      for (let pieces = 0; pieces < 6; pieces++) {
        await using proxy = await openCutter(database.url, pieces);
        const cut = connect(proxy.url, { max: 1, applicationName: "cut" });
        await cut`select 1 as one`.catch(() => undefined);
        await cut`select 1 as one`.catch(() => undefined);
        await cut.end({ timeout: 1 });
      }
      await new Promise((turn) => setImmediate(turn));
      expect(unheard).toEqual([]);
    } finally {
      process.off("unhandledRejection", hear);
    }
  });
});

/** What a backend says that is told to go: ErrorResponse, FATAL 57P01. */
const TERMINATED = ((): Buffer => {
  const fields = Buffer.from("SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0");
  const length = Buffer.alloc(4);
  length.writeInt32BE(fields.length + 4);
  return Buffer.concat([Buffer.from("E"), length, fields]);
})();

/** Cuts its first connection after the server has said that many things; the others live. */
async function openCutter(targetUrl: string, pieces: number): Promise<AsyncDisposable & { readonly url: string }> {
  const target = new URL(targetUrl);
  const sockets = new Set<Socket>();
  let isFirst = true;
  const server = createServer((client) => {
    const upstream = dial(Number(target.port), target.hostname);
    let left = isFirst ? pieces : Number.POSITIVE_INFINITY;
    isFirst = false;
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    client.on("data", (bytes) => upstream.write(bytes));
    upstream.on("data", (bytes) => {
      if (left-- > 0) client.write(bytes);
      else client.end(TERMINATED);
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  const url = new URL(targetUrl);
  url.port = String(typeof address === "object" && address !== null ? address.port : 0);
  return {
    url: url.href,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((closed) => server.close(() => closed()));
    },
  };
}
