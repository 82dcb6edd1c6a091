/** What is told of by itself: outages and dead letters that grow, each once. */
import { randomUUID } from "node:crypto";
import { fingerprintOf, type PipelineId, type TenantId } from "@onedata/core";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { captureGroup } from "./capture.ts";
import { connect, openStore, type Store } from "./connection.ts";
import { detectGrowth } from "./detect-growth.ts";
import { detectOutages } from "./detect-outages.ts";
import { blockLanes, unblockLanes } from "./release.ts";
import { countRowsRead, createTestPipeline, openTestDatabase, type TestDatabase } from "./testing.ts";

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
beforeEach(async () => {
  await store.sql`truncate onedata.notifications, onedata.outages, onedata.dead_letter_growth, onedata.dead_letters, onedata.queue`;
  await store.sql`update onedata.detectors set position = onedata.id_at(clock_timestamp()) where name = 'dead_letters'`;
});

const notices = async () =>
  (
    await store.sql<{ topic: string; pipeline: string; detail: Record<string, unknown> }[]>`
      select topic, pipeline, detail from onedata.notifications order by id`
  ).map(({ topic, pipeline, detail }) => ({ topic, pipeline, detail }));

describe("an outage", () => {
  const minute = { afterMs: 60_000 };
  const reason = "service enrich: connection refused";
  const block = (route: string) => blockLanes(store, { route }, { backoff: { firstMs: 1_000, mostMs: 1_000 }, jitter: 1, reason });
  const blocked = async () => {
    const route = `enrich-${randomUUID()}`;
    const made = await createTestPipeline(store.sql, { route });
    await captureGroup(store, [{ target: { ...made, version: 1, laneClass: "live", ordered: false }, events: [{ payload: "1" }] }]);
    await block(route);
    return { ...made, route };
  };
  const age = () => store.sql`update onedata.outages set since = since - interval '61 seconds'`;

  it("is told when it has lasted a minute, once, and once more when it is over", async () => {
    const { name, route } = await blocked();
    expect(await detectOutages(store.sql, minute)).toBe(0);
    await age();
    expect(await detectOutages(store.sql, minute)).toBe(1);
    expect(await detectOutages(store.sql, minute)).toBe(0);
    await unblockLanes(store, { route });
    expect(await detectOutages(store.sql, minute)).toBe(1);
    expect(await detectOutages(store.sql, minute)).toBe(0);
    expect(await notices()).toEqual([
      { topic: "pipeline.blocked", pipeline: name, detail: { since: expect.any(String), reason } },
      { topic: "pipeline.unblocked", pipeline: name, detail: { since: expect.any(String), until: expect.any(String), reason } },
    ]);
    await block(route);
    await detectOutages(store.sql, minute);
    await age();
    expect(await detectOutages(store.sql, minute)).toBe(1);
  });

  it("is not over while a run tries again with all that waited, and is over when nothing waits any more", async () => {
    const { pipelineId } = await blocked();
    await detectOutages(store.sql, minute);
    await age();
    await detectOutages(store.sql, minute);
    await store.sql`update onedata.queue set run_id = gen_random_uuid(), state = 'leased'`;
    expect(await detectOutages(store.sql, minute)).toBe(0);
    await store.sql`delete from onedata.queue`;
    expect(await detectOutages(store.sql, minute)).toBe(1);
    expect(await store.sql`select 1 from onedata.outages where pipeline_id = ${pipelineId}`).toHaveLength(0);
  });

  it("that was short is told to nobody, and two processes tell once", async () => {
    const { route } = await blocked();
    await detectOutages(store.sql, minute);
    await unblockLanes(store, { route });
    expect(await detectOutages(store.sql, minute)).toBe(0);
    await block(route);
    await detectOutages(store.sql, minute);
    await age();
    const told = await Promise.all(Array.from({ length: 6 }, () => detectOutages(store.sql, minute)));
    expect(told.reduce((sum, one) => sum + one, 0)).toBe(1);
  });
});

describe("dead letters", () => {
  type Of = { tenantId: TenantId; pipelineId: PipelineId; name: string };
  const die = async ({ tenantId, pipelineId }: Of, count: number, message = 'price "secret-4711" is not a number') => {
    const fingerprint = fingerprintOf({ step: "total", code: "record.invalid", message });
    await store.sql`
      insert into onedata.dead_letters (tenant_id, pipeline_id, batch_id, n, version, step, code, fingerprint, message, payload)
      select ${tenantId}, ${pipelineId}, 7, i, 3, 'total', 'record.invalid', ${fingerprint}, ${message}, '{"card":"4711"}' from generate_series(1, ${count}) i`;
    // The newest millisecond is not looked at yet.
    await store.sql`select pg_sleep(0.002)`;
    return detectGrowth(store.sql, { settleMs: 0 });
  };
  const counts = async () => (await notices()).map(({ detail }) => detail["count"] ?? detail["causes"]);

  it("are told of at the first one of a cause, then at ten times as many", async () => {
    const pipeline = await createTestPipeline(store.sql);
    for (const count of [1, 3, 5, 1, 89, 1, 900, 5000]) await die(pipeline, count);
    expect(await counts()).toEqual([1, 10, 100, 1000]);
    expect(await detectGrowth(store.sql, { settleMs: 0 })).toBe(0);
    await die(pipeline, 1, "another cause");
    expect((await notices())[0]).toEqual({
      topic: "dead_letters.grew",
      pipeline: pipeline.name,
      detail: {
        count: 1,
        fingerprint: expect.stringMatching(/^[0-9a-f]{16}$/),
        code: "record.invalid",
        step: "total",
        message: 'price "…" is not a number',
        version: 3,
        example: "evt_7_1",
      },
    });
    expect(JSON.stringify(await notices())).not.toContain("4711");
    expect(await counts()).toEqual([1, 10, 100, 1000, 1]);
  });

  it("are new again when the group had been emptied", async () => {
    const pipeline = await createTestPipeline(store.sql);
    await die(pipeline, 12);
    await die(pipeline, 5);
    expect(await counts()).toEqual([12]);
    await store.sql`update onedata.dead_letters set state = 'replayed'`;
    await die(pipeline, 2);
    expect(await counts()).toEqual([12, 2]);
  });

  it("of ever new causes end in one message an hour", async () => {
    const pipeline = await createTestPipeline(store.sql);
    for (let i = 0; i < 40; i++) await die(pipeline, 1, `cause ${String.fromCodePoint(0x61 + (i % 26)).repeat(1 + i)}`);
    const told = await notices();
    expect(told).toHaveLength(21);
    expect(told.at(-1)?.detail).toEqual({ causes: 21 });
  });

  it("of twenty thousand causes at once are counted, each letter read a few times at most", async () => {
    const pipeline = await createTestPipeline(store.sql);
    await store.sql`
      insert into onedata.dead_letters (tenant_id, pipeline_id, batch_id, n, code, fingerprint, message)
      select ${pipeline.tenantId}, ${pipeline.pipelineId}, 7, i, 'record.invalid', 'f' || i % 20000, 'm' from generate_series(1, 60000) i`;
    await store.sql`select pg_sleep(0.002)`;
    const single = connect(database.url, { max: 1, applicationName: "test" });
    const read = await countRowsRead(single, "dead_letters%", async () => expect(await detectGrowth(single, { settleMs: 0 })).toBe(21));
    await single.end();
    expect(read.rows).toBeGreaterThanOrEqual(60_000);
    expect(read.rows).toBeLessThan(3 * 60_000);
    expect((await notices()).at(-1)?.detail).toEqual({ causes: 20_000 });
  });

  it("are counted once by several processes", async () => {
    const pipeline = await createTestPipeline(store.sql);
    await store.sql`update onedata.detectors set updated_at = updated_at`;
    const fingerprint = "f";
    await store.sql`
      insert into onedata.dead_letters (tenant_id, pipeline_id, batch_id, n, code, fingerprint, message)
      select ${pipeline.tenantId}, ${pipeline.pipelineId}, 7, i, 'record.invalid', ${fingerprint}, 'm' from generate_series(1, 150) i`;
    await store.sql`select pg_sleep(0.002)`;
    await Promise.all(Array.from({ length: 6 }, () => detectGrowth(store.sql, { settleMs: 0 })));
    await detectGrowth(store.sql, { settleMs: 0 });
    expect(await counts()).toEqual([150]);
  });
});
