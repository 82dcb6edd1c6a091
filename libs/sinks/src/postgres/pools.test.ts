/** Pools: whose database they refuse, and how they make room. */
import { describe, expect, it } from "vitest";
import { testContext, testRecord } from "../conformance.ts";
import type { ConnectionConfig } from "../sink.ts";
import { createPools, readIdentity } from "./pools.ts";
import { openSinkDatabase } from "./testing.ts";
import { createPostgresWriter } from "./writer.ts";
import { insert, kinds, messageOf, useSinkDatabase } from "./writer-testing.ts";

const openOwn = useSinkDatabase();

describe("pools", () => {
  it("refuse the platform's own database by whatever name, and allow its neighbour", async () => {
    await using platform = await openOwn();
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
    await using first = await openOwn();
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
