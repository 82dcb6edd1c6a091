/** What a capture keeps, refuses and answers; in SQL too. */
import { randomUUID } from "node:crypto";
import type { BatchId } from "@onedata/core";
import { describe, expect, it } from "vitest";
import { type CaptureOutcome, captureGroup } from "./capture.ts";
import { openStore, type Store } from "./connection.ts";
import { loadEvents } from "./events.ts";
import { capture, claim, complete, pipeline, useHotPath } from "./hot-path-testing.ts";
import { shardOf, shardVector } from "./shard.ts";
import { openProxy } from "./test-proxy.ts";
import type { TestDatabase } from "./testing.ts";

let database: TestDatabase;
let store: Store;
useHotPath((made) => ({ database, store } = made));

describe("capture", () => {
  it("hashes ordering keys alike in TypeScript and SQL", async () => {
    for (const [key, shard] of shardVector) {
      expect(shardOf(key), key).toBe(shard);
      expect((await store.sql`select onedata.shard_of(${key}) s`)[0]?.["s"], key).toBe(shard);
    }
  });

  it("keeps payloads byte for byte, with keys and traces, over several pipelines in one group", async () => {
    const a = await pipeline();
    const b = await pipeline({ ordering: "k" });
    const trace = Buffer.alloc(25, 7);
    const text = '{"a":1.10,\n"b":12345678901234567890,"c":"\\u0000","d":"æ😀"}';
    const outcomes = await captureGroup(store, [
      { target: a, events: [{ payload: text, trace }, { payload: "2" }] },
      {
        target: b,
        events: [
          { payload: "3", orderingKey: "a" },
          { payload: "4", orderingKey: "1" },
        ],
      },
      { target: a, events: [{ payload: "5" }] },
    ]);
    expect(outcomes.flat().every((outcome) => outcome.kind === "captured")).toBe(true);
    const batches = await store.sql<{ batchId: BatchId; kind: string }[]>`select batch_id as "batchId", kind from onedata.queue order by seq`;
    const events = await loadEvents(store, batches, { withTraces: true });
    expect(batches.map(({ batchId }) => events.get(batchId)?.map(({ payload, orderingKey }) => [payload, orderingKey]))).toEqual([
      [
        [text, undefined],
        ["2", undefined],
        ["5", undefined],
      ],
      [["3", "a"]],
      [["4", "1"]],
    ]);
    expect(events.get(batches[0]?.batchId ?? (0n as BatchId))?.[0]?.trace).toEqual(trace);
  });

  it("refuses per pipeline and writes the rest", async () => {
    const good = await pipeline();
    const stale = { ...(await pipeline()), version: 2 };
    const foreign = { ...(await pipeline()), tenantId: good.tenantId };
    const deleting = await pipeline();
    await store.sql`update onedata.pipelines set state = 'deleting' where id = ${deleting.pipelineId}`;
    const outcomes = await captureGroup(
      store,
      [good, stale, foreign, deleting].map((target) => ({ target, events: [{ payload: "1" }] })),
    );
    expect(outcomes.flat().map((outcome) => (outcome.kind === "refused" ? outcome.reason : outcome.kind))).toEqual([
      "captured",
      "stale_version",
      "not_found",
      "deleting",
    ]);
  });

  it("cuts a large request into batches of 100 in order", async () => {
    const target = await pipeline();
    await capture(target, ...Array.from({ length: 250 }, (_, i) => String(i)));
    const batches = await store.sql<
      { batchId: BatchId; kind: string; n: number }[]
    >`select batch_id as "batchId", kind, n from onedata.queue order by seq`;
    expect(batches.map(({ n }) => n)).toEqual([100, 100, 50]);
    const events = await loadEvents(store, batches);
    expect(batches.flatMap(({ batchId }) => events.get(batchId)?.map(({ payload }) => Number(payload)))).toEqual(
      Array.from({ length: 250 }, (_, i) => i),
    );
  });

  it("makes a missing partition and tries again", async () => {
    const target = await pipeline();
    await store.sql.unsafe(`drop table onedata.events_p${new Date().toISOString().slice(0, 10).replaceAll("-", "")}`);
    expect((await capture(target, "1"))[0]?.kind).toBe("captured");
  });

  it("answers 200 parallel captures of one idempotency key with one id", async () => {
    const target = await pipeline();
    await using other = openStore(database.url);
    const outcomes = await Promise.all(
      Array.from(
        { length: 200 },
        async (_, i) => (await captureGroup(i % 2 === 0 ? store : other, [{ target, events: [{ payload: "1", idempotencyKey: "k" }] }])).flat()[0],
      ),
    );
    expect(new Set(outcomes.map((outcome) => (outcome?.kind === "captured" ? `${outcome.batchId}:${outcome.n}` : outcome?.kind))).size).toBe(1);
    expect(
      (
        await store.sql`select count(*)::int c from onedata.events e join onedata.batches b on b.id = e.batch_id where b.pipeline_id = ${target.pipelineId}`
      )[0]?.["c"],
    ).toBe(1);
  });

  it("folds duplicates, leaves holes, and tells a conflict", async () => {
    const target = await pipeline();
    await captureGroup(store, [{ target, events: [{ payload: "1", idempotencyKey: "x" }] }]);
    const [outcomes = []] = await captureGroup(store, [
      {
        target,
        events: [
          { payload: "0" },
          { payload: "1", idempotencyKey: "x" },
          { payload: "2", idempotencyKey: "x" },
          { payload: "3", idempotencyKey: "y" },
          { payload: "3", idempotencyKey: "y" },
          { payload: "4", idempotencyKey: "y" },
        ],
      },
    ]);
    expect(outcomes.map((outcome) => (outcome.kind === "captured" ? `${outcome.n}${outcome.duplicate ? "d" : ""}` : outcome.kind))).toEqual([
      "0",
      "0d",
      "conflict",
      "2",
      "2d",
      "conflict",
    ]);
    const rows =
      await store.sql`select n from onedata.queue where lane_id in (select id from onedata.lanes where pipeline_id = ${target.pipelineId}) order by seq`;
    expect(rows.map((row) => row["n"])).toEqual([1, 2]);
  });

  it("answers busy for the key that an open transaction holds, and only for it", async () => {
    const target = await pipeline();
    const role = `app_${randomUUID().slice(0, 8)}`;
    await store.sql.unsafe(`create role ${role}`);
    await store.sql`insert into onedata.principals (tenant_id, kind, subject) values (${target.tenantId}, 'database', current_user) on conflict (subject) do update set tenant_id = excluded.tenant_id`;
    const [{ name }] = (await store.sql`select name from onedata.pipelines where id = ${target.pipelineId}`) as unknown as [{ name: string }];
    await store.sql.begin(async (application) => {
      await application`select onedata.capture(${name}, '1', idempotency_key => 'held')`;
      const outcomes = await captureGroup(store, [
        { target, events: [{ payload: "1", idempotencyKey: "held" }] },
        { target, events: [{ payload: "2", idempotencyKey: "free" }] },
        { target, events: [{ payload: "3" }] },
      ]);
      expect(outcomes.flat().map(({ kind }) => kind)).toEqual(["busy", "captured", "captured"]);
    });
    const [again] = (await captureGroup(store, [{ target, events: [{ payload: "1", idempotencyKey: "held" }] }])).flat();
    expect(again).toMatchObject({ kind: "captured", duplicate: true });
  });

  it("is not slowed by an application whose transaction stays open after its capture", async () => {
    const target = await pipeline();
    await store.sql`insert into onedata.principals (tenant_id, kind, subject) values (${target.tenantId}, 'database', current_user) on conflict (subject) do update set tenant_id = excluded.tenant_id`;
    const [named] = await store.sql<{ name: string }[]>`select name from onedata.pipelines where id = ${target.pipelineId}`;
    await store.sql.begin(async (application) => {
      await application`select onedata.capture(${named?.name ?? ""}, '"late"')`;
      for (let i = 0; i < 20; i++) expect((await capture(target, String(i)))[0]?.kind).toBe("captured");
      const run = await claim();
      expect(run?.events).toBe(20);
      if (run !== undefined) await complete(run);
    });
    expect((await claim())?.events).toBe(1);
  });

  it("finds a commit whose answer was lost, and writes nothing twice", async () => {
    const target = await pipeline();
    await using proxy = await openProxy(database.url);
    await using other = openStore(proxy.url, { captureConnections: 1 });
    const send = async (payload: string): Promise<CaptureOutcome | undefined> =>
      (await captureGroup(other, [{ target, events: [{ payload }] }])).flat()[0];
    await send("0");
    proxy.swallowNextAnswer(); // the server has committed, the client never hears it
    const lost = await send("1");
    proxy.cutNextRequest(); // the server never sees it
    const unsent = await send("2");
    expect([lost?.kind, unsent?.kind]).toEqual(["captured", "captured"]);
    const rows =
      await store.sql`select e.payload from onedata.events e join onedata.batches b on b.id = e.batch_id where b.pipeline_id = ${target.pipelineId} order by b.seq`;
    expect(rows.map((row) => row["payload"])).toEqual(["0", "1", "2"]);
  });
});

describe("capture in SQL", () => {
  it("takes the tenant from the database role, and finds the first id of a key", async () => {
    const target = await pipeline({ ordering: "k" });
    const [{ name }] = (await store.sql`select name from onedata.pipelines where id = ${target.pipelineId}`) as unknown as [{ name: string }];
    const role = `app_${randomUUID().slice(0, 8)}`;
    await store.sql.unsafe(`create role ${role} login password 'x'`);
    const url = new URL(database.url);
    url.username = role;
    url.password = "x";
    await using application = openStore(url.href);
    await expect(application.sql`select onedata.capture(${name}, '1')`).rejects.toThrow(/no principal/);
    await store.sql`insert into onedata.principals (tenant_id, kind, subject) values (${target.tenantId}, 'database', ${role})`;
    const [first] = await application.sql`select onedata.capture(${name}, '{"a":1}', ordering_key => 'a', idempotency_key => 'k') id`;
    const [second] = await application.sql`select onedata.capture(${name}, '{"a":1}', ordering_key => 'a', idempotency_key => 'k') id`;
    expect(second?.["id"]).toBe(first?.["id"]);
    await expect(application.sql`select onedata.capture(${name}, '{"a":2}', idempotency_key => 'k')`).rejects.toThrow(/another payload/);
    await expect(application.sql`select onedata.capture(${name}, '{"a":')`).rejects.toThrow(/json/);
    const many = await application.sql`select onedata.capture_many(${name}, ${Array.from({ length: 250 }, (_, i) => String(i))}) id`;
    expect(new Set(many.map((row) => row["id"])).size).toBe(250);
    const run = await claim();
    expect(run?.events).toBe(251);
    await expect(application.sql`select * from onedata.events`).rejects.toThrow(/permission denied/);
  });
});
