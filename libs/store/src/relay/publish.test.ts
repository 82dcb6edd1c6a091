import { randomUUID } from "node:crypto";
import type { BatchId } from "@onedata/core";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { captureGroup } from "../capture.ts";
import type { CaptureTarget } from "../capture-batches.ts";
import { claimRun } from "../claim.ts";
import { openStore, type Sql, type Store } from "../connection.ts";
import { registerEngine } from "../lease.ts";
import { releaseRun } from "../release.ts";
import { createTestPipeline, openTestDatabase, type TestDatabase, type TestPipelineOptions } from "../testing.ts";
import { connectRelay, type Published, type PublishedBatch, type PublishOptions, publishWaiting, reportBroker, unpublish } from "./publish.ts";

let database: TestDatabase;
let store: Store;
let relay: Sql;
const engine = randomUUID();

beforeAll(async () => {
  database = await openTestDatabase();
  store = openStore(database.url);
  relay = connectRelay(database.url);
  await registerEngine(store, { incarnation: engine, slots: 2, leaseMs: 60_000 });
});
afterAll(async () => {
  await relay.end();
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});
beforeEach(async () => {
  await store.sql`truncate onedata.queue`;
});

async function pipeline(options: TestPipelineOptions = {}): Promise<CaptureTarget> {
  const made = await createTestPipeline(store.sql, options);
  return { tenantId: made.tenantId, pipelineId: made.pipelineId, version: 1, laneClass: "live", ordered: options.ordering !== undefined };
}
const capture = (target: CaptureTarget, ...keys: string[]) =>
  captureGroup(store, [{ target, events: keys.map((key) => ({ payload: "1", ...(target.ordered ? { orderingKey: key } : {}) })) }]);
/** Rows of the queue alone, `n` events each. */
const fill = (target: CaptureTarget, batches: number, n: number) => store.sql`
  insert into onedata.queue (batch_id, seq, lane_id, n, bytes)
  select onedata.next_id(), nextval('onedata.batch_seq'), l.id, ${n}, 10 from onedata.lanes l, generate_series(1, ${batches})
   where l.pipeline_id = ${target.pipelineId} and l.class = 'live' and l.shard = 0`;
const publish = (options: Partial<PublishOptions> = {}): Promise<Published> =>
  publishWaiting(relay, { windowEvents: 1000, maxBatches: 1000, ...options });
const batchesOf = ({ routes }: Published): readonly PublishedBatch[] => routes.flatMap(({ batches }) => batches);
const publishIds = async (options?: Partial<PublishOptions>): Promise<BatchId[]> => batchesOf(await publish(options)).map(({ batchId }) => batchId);

describe("publishing", () => {
  it("names each waiting batch once, in order, by route", async () => {
    const [a, b] = [await pipeline({ route: "x" }), await pipeline({ route: "y" })];
    for (let i = 0; i < 3; i++) {
      await capture(a, "k");
      await capture(b, "k");
    }
    const first = await publish();
    expect(first.routes.map(({ route, batches }) => [route, batches.length]).sort(([x], [y]) => String(x).localeCompare(String(y)))).toEqual([
      ["x", 3],
      ["y", 3],
    ]);
    expect(batchesOf(first).every(({ publishSeq, n }) => publishSeq === 1 && n === 1)).toBe(true);
    expect(first.more).toBe(false);
    expect(batchesOf(await publish())).toEqual([]);
  });

  it("is a heap-only update", async () => {
    const target = await pipeline();
    await fill(target, 300, 1);
    // Room on the pages is vacuum's business; whether an index is touched is ours.
    const indexed = await store.sql<{ column: string }[]>`
      select distinct a.attname as column from pg_index i join pg_attribute a on a.attrelid = i.indrelid
         and (a.attnum = any(i.indkey) or pg_get_expr(i.indpred, i.indrelid) ~ ('\\m' || a.attname || '\\M')) where i.indrelid = 'onedata.queue'::regclass`;
    expect(indexed.map(({ column }) => column).filter((column) => ["state", "publish_seq", "published_at"].includes(column))).toEqual([]);
    const count = async (): Promise<{ updated: number; hot: number }> => {
      const [row] = await relay<{ updated: bigint; hot: bigint }[]>`
        select pg_stat_get_xact_tuples_updated('onedata.queue'::regclass) as updated, pg_stat_get_xact_tuples_hot_updated('onedata.queue'::regclass) as hot`;
      return { updated: Number(row?.updated), hot: Number(row?.hot) };
    };
    await store.sql`delete from onedata.queue where batch_id & 1 = 0`;
    await store.sql`vacuum onedata.queue`;
    await relay`begin`;
    const before = await count();
    expect((await publishIds()).length).toBeGreaterThan(50);
    const after = await count();
    await relay`commit`;
    expect(after.hot - before.hot).toBe(after.updated - before.updated);
    expect(after.hot).toBeGreaterThan(before.hot);
  });

  it("keeps a tenant's window, and fills another tenant's beside it", async () => {
    const [big, small] = [await pipeline(), await pipeline()];
    await fill(big, 600, 10);
    await fill(small, 3, 1);
    const first = await publish({ windowEvents: 500, maxBatches: 40 });
    expect(batchesOf(first).length).toBe(40);
    // The least filled windows go first: all of the small one is among them.
    expect(batchesOf(first).filter(({ n }) => n === 1).length).toBe(3);
    const second = await publish({ windowEvents: 500 });
    expect(batchesOf(second).length).toBe(50 - 37);
    expect(second.more).toBe(true);
    expect(batchesOf(await publish({ windowEvents: 500 }))).toEqual([]);
  });

  it("opens the window as published batches are claimed", async () => {
    const target = await pipeline();
    await fill(target, 30, 10);
    expect((await publishIds({ windowEvents: 100 })).length).toBe(10);
    const { run } = await claimRun(store, { runId: randomUUID(), owner: engine, deadlineMs: 60_000, maxEvents: 50 });
    expect(run?.batches.length).toBe(5);
    expect((await publishIds({ windowEvents: 100 })).length).toBe(5);
  });

  it("publishes nothing that cannot run: paused, blocked, delayed, held in order", async () => {
    const [paused, blocked, delayed, ordered] = [await pipeline(), await pipeline(), await pipeline(), await pipeline({ ordering: "k" })];
    for (const target of [paused, blocked, delayed]) await capture(target, "k");
    await capture(ordered, "k");
    await capture(ordered, "k");
    await store.sql`update onedata.pipelines set state = 'paused' where id = ${paused.pipelineId}`;
    await store.sql`update onedata.lanes set blocked_until = now() + interval '1 minute' where pipeline_id = ${blocked.pipelineId}`;
    await store.sql`update onedata.queue q set available_at = now() + interval '1 minute' from onedata.lanes l where l.id = q.lane_id and l.pipeline_id = ${delayed.pipelineId}`;
    await claimRun(store, { runId: randomUUID(), owner: engine, deadlineMs: 60_000, maxEvents: 1 });
    expect(await publishIds()).toEqual([]);
  });

  it("gives back what could not be handed over, unless it was claimed or published since", async () => {
    const target = await pipeline();
    for (let i = 0; i < 3; i++) await capture(target, "k");
    const batches = batchesOf(await publish());
    const { run } = await claimRun(store, { runId: randomUUID(), owner: engine, deadlineMs: 60_000, maxEvents: 1 });
    expect(run?.batches.length).toBe(1);
    expect(await unpublish(relay, batches)).toBe(2);
    const again = batchesOf(await publish());
    expect(again.map(({ publishSeq }) => publishSeq)).toEqual([2, 2]);
    // The old answer comes late.
    expect(await unpublish(relay, batches)).toBe(0);
    await releaseRun(store, { runId: run?.runId ?? "" });
    expect(await publishIds()).toEqual([batches[0]?.batchId]);
  });

  it("publishes again what the broker has lost: its store, or a single message", async () => {
    const target = await pipeline();
    await capture(target, "k");
    const [id] = await publishIds();
    const age = (seconds: number) => store.sql`update onedata.queue set published_at = clock_timestamp() - make_interval(secs => ${seconds})`;
    await age(10);
    expect(await publishIds({ lostForMs: 11_000 })).toEqual([]);
    expect(await publishIds({ lostForMs: 9_000 })).toEqual([id]);
    // Its second publish counts as lost after two minutes when the broker is empty, and after a quarter of an hour in any case.
    await age(100);
    expect(await publishIds({ brokerIsEmpty: true })).toEqual([]);
    await age(130);
    expect(await publishIds()).toEqual([]);
    expect(await publishIds({ brokerIsEmpty: true })).toEqual([id]);
    await age(910);
    expect(await publishIds()).toEqual([id]);
  });

  it("lets many relays publish at once: each batch by one of them", async () => {
    const target = await pipeline();
    await fill(target, 400, 1);
    const relays = Array.from({ length: 4 }, () => connectRelay(database.url));
    const all = await Promise.all(relays.flatMap((sql) => [1, 2, 3].map(() => publishWaiting(sql, { windowEvents: 1000, maxBatches: 60 }))));
    await Promise.all(relays.map((sql) => sql.end()));
    const ids = all.flatMap((published) => batchesOf(published).map(({ batchId }) => batchId));
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.length).toBeGreaterThan(60);
  });

  it("says in the engine's row how it stands with its broker, and since when", async () => {
    const read = async () =>
      (
        await store.sql<{ broker: string; state: string; since: Date }[]>`
      select broker, broker_state as state, broker_since as since from onedata.engines where incarnation = ${engine}`
      )[0];
    await reportBroker(store, engine, { broker: "nats://h:4222", state: "up" });
    const first = await read();
    await reportBroker(store, engine, { broker: "nats://h:4222", state: "up" });
    expect(await read()).toEqual(first);
    await reportBroker(store, engine, { broker: "nats://h:4222", state: "down: gone" });
    expect((await read())?.since.getTime()).toBeGreaterThan(first?.since.getTime() ?? 0);
  });
});
