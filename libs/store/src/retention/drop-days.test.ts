import { randomUUID } from "node:crypto";
import { type BatchId, type PipelineId, type TenantId, toBatchId } from "@onedata/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { captureGroup } from "../capture.ts";
import { type ClaimedBatch, claimRun } from "../claim.ts";
import { completeRun } from "../complete.ts";
import { connect, openStore, type Sql, type Store, type Transaction } from "../connection.ts";
import { getEvent } from "../control/events.ts";
import { loadEvents } from "../events.ts";
import { registerEngine } from "../lease.ts";
import { createTestPipeline, openTestDatabase, type TestDatabase } from "../testing.ts";
import { type Dropped, dropDays, dropDaysOn } from "./drop-days.ts";
import { eventTables, listPartitions } from "./partitions.ts";
import { ageBatch, daysAgo } from "./testing.ts";

let database: TestDatabase;
let store: Store;
const engine = randomUUID();
beforeEach(async () => {
  database = await openTestDatabase();
  store = openStore(database.url);
  await registerEngine(store, { incarnation: engine, slots: 2, leaseMs: 600_000 });
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

type Owner = { readonly tenantId: TenantId; readonly pipelineId: PipelineId };

async function capture(owner: Owner, payloads: readonly string[]): Promise<BatchId> {
  const target = { tenantId: owner.tenantId, pipelineId: owner.pipelineId, version: 1, laneClass: "live" as const, ordered: false };
  const [[captured] = []] = await captureGroup(store, [{ target, events: payloads.map((payload) => ({ payload })) }]);
  if (captured?.kind !== "captured") throw new Error("not captured");
  return captured.batchId;
}

async function claim(): Promise<readonly ClaimedBatch[]> {
  const { run } = await claimRun(store, { runId: randomUUID(), owner: engine, deadlineMs: 60_000 });
  return run === undefined ? [] : run.batches.map((batch) => ({ ...batch, runId: run.runId }));
}

/** Claims and delivers all that may run; returns how many batches the fence let through. */
async function deliver(): Promise<number> {
  let kept = 0;
  for (;;) {
    const { run } = await claimRun(store, { runId: randomUUID(), owner: engine, deadlineMs: 60_000 });
    if (run === undefined) return kept;
    const events = await loadEvents(store, run.batches);
    const batches = run.batches.map((batch) => {
      const own = events.get(batch.batchId) ?? [];
      return {
        ...batch,
        verdicts: new Uint8Array(own.length).fill(1),
        counts: { delivered: own.length, filtered: 0, dead: 0 },
        outputs: [{ sink: 0, ordinals: own.map(({ n }) => n), payloads: own.map(({ payload }) => payload) }],
      };
    });
    kept += (await completeRun(store, { runId: run.runId, engine, wokenBy: "test", durationMs: 1, batches })).size;
  }
}

const pause = (owner: Owner, state: "paused" | "running") => store.sql`update onedata.pipelines set state = ${state} where id = ${owner.pipelineId}`;
/** Somebody's transaction of a moment, autovacuum's too, puts a drop off. */
async function dropWhenCalm(): Promise<Dropped> {
  for (;;) {
    const dropped = await dropDays(store, { cutoff: daysAgo(7) });
    if (dropped.state !== "waiting") return dropped;
  }
}
const heldTables = async (): Promise<string[]> => (await tablesOf("events")).filter((table) => table.includes("_h"));
const tablesOf = async (parent: string): Promise<string[]> => (await listPartitions(store.sql, [parent])).map(({ table }) => table);

/** A process that dies right before the statement with this number. */
function dieBefore(sql: Sql, statement: number): Sql {
  let left = statement;
  const count = async (): Promise<void> => {
    left -= 1;
    if (left < 0) throw new Error("died");
  };
  const cut = <T extends Sql | Transaction>(client: T): T =>
    new Proxy(client, {
      // Fragments of statements are called the same way, but nobody awaits those; there are none here.
      apply: (target, self, parameters) => count().then(() => Reflect.apply(target, self, parameters)),
      get(target, name) {
        if (name === "unsafe") return (text: string) => count().then(() => target.unsafe(text));
        if (name === "begin" && "begin" in target)
          return (work: (tx: Transaction) => unknown) => count().then(() => target.begin((tx) => work(cut(tx))));
        return Reflect.get(target, name);
      },
    });
  return cut(sql);
}

describe("dropping old days", () => {
  it("keeps a paused backlog, drops the days of others, and lets the backlog finish weeks later", async () => {
    const paused = await createTestPipeline(store.sql);
    const busy = await createTestPipeline(store.sql);
    await pause(paused, "paused");
    const waiting = await ageBatch(store.sql, await capture(paused, ['{"a":1}', '{"a":2}']), 13);
    const done = await capture(busy, ['{"b":1}']);
    expect(await deliver()).toBe(1);
    const dropped = await ageBatch(store.sql, done, 13);
    const today = await capture(busy, ['{"c":1}']);
    expect(await deliver()).toBe(1);

    expect(await dropDays(store, { cutoff: daysAgo(7) })).toMatchObject({
      state: "done",
      held: { batches: 1, events: 2, runs: 0, outputs: 0, batch_refs: 0 },
    });
    await expect(getEvent(store.sql, busy.tenantId, { batchId: dropped, n: 0 })).rejects.toMatchObject({ code: "event.not_found" });
    expect(await getEvent(store.sql, busy.tenantId, { batchId: today, n: 0 })).toMatchObject({ verdict: 1 });
    expect(await getEvent(store.sql, paused.tenantId, { batchId: waiting, n: 1 })).toMatchObject({
      payload: '{"a":2}',
      verdict: 0,
      wait: { pipelineState: "paused" },
    });
    for (const parent of eventTables) expect(await tablesOf(parent)).toHaveLength(6);

    // The next days go too; what is held stays, in one partition.
    await ageBatch(store.sql, await capture(busy, ["1"]), 12);
    await store.sql`delete from onedata.queue q using onedata.lanes l where l.id = q.lane_id and l.pipeline_id = ${busy.pipelineId}`;
    expect(await dropDays(store, { cutoff: daysAgo(7) })).toMatchObject({ state: "done", held: { batches: 1, events: 2 } });
    expect(await heldTables()).toHaveLength(1);
    expect(await dropDays(store, { cutoff: daysAgo(7) })).toMatchObject({ state: "nothing" });

    await pause(paused, "running");
    expect(await deliver()).toBe(1);
    expect(await getEvent(store.sql, paused.tenantId, { batchId: waiting, n: 1 })).toMatchObject({ verdict: 1, wait: undefined });
    expect(await store.sql`select payloads from onedata.outputs where batch_id = ${waiting}`).toEqual([{ payloads: '{"a":1}\u001e{"a":2}' }]);

    // It was done today: retention counts from now.
    await ageBatch(store.sql, await capture(busy, ["1"]), 11);
    await dropDays(store, { cutoff: daysAgo(7) });
    expect(await getEvent(store.sql, paused.tenantId, { batchId: waiting, n: 0 })).toMatchObject({ verdict: 1 });
    await store.sql`update onedata.runs set ended_at = ended_at - interval '8 days' where batch_id = ${waiting}`;
    await store.sql`delete from onedata.queue`;
    await ageBatch(store.sql, await capture(busy, ["1"]), 10);
    await store.sql`delete from onedata.queue`;
    await dropDays(store, { cutoff: daysAgo(7) });
    await expect(getEvent(store.sql, paused.tenantId, { batchId: waiting, n: 0 })).rejects.toMatchObject({ code: "event.not_found" });
    expect(await heldTables()).toEqual([]);
  });

  it("leaves held rows where they lie, and copies them only when most of their neighbours may go", async () => {
    const paused = await createTestPipeline(store.sql);
    await pause(paused, "paused");
    const waiting: BatchId[] = [];
    for (let i = 0; i < 8; i++) waiting.push(await ageBatch(store.sql, await capture(paused, [`${i}`]), 13));
    await dropWhenCalm();
    const first = await heldTables();

    const [gone = 0n] = waiting.splice(0, 1);
    await store.sql`delete from onedata.queue where batch_id = ${gone}`;
    waiting.push(await ageBatch(store.sql, await capture(paused, ["later"]), 12));
    expect(await dropWhenCalm()).toMatchObject({
      state: "done",
      held: { batches: 8, events: 8 },
      tables: expect.not.arrayContaining(first),
    });
    expect(await heldTables()).toEqual(first);
    expect(await store.sql`select 1 from onedata.events where batch_id = ${gone}`).toHaveLength(0);

    for (const id of waiting.splice(0, 7)) await store.sql`delete from onedata.queue where batch_id = ${id}`;
    await ageBatch(store.sql, await capture(paused, ["1"]), 11);
    await store.sql`delete from onedata.queue where batch_id not in (select id from onedata.batches where id = ${waiting[0] ?? 0n})`;
    expect(await dropWhenCalm()).toMatchObject({ state: "done", held: { batches: 1, events: 1 } });
    expect(await heldTables()).not.toEqual(first);
    expect(await store.sql`select payload from onedata.events`).toEqual([{ payload: "later" }]);
    await pause(paused, "running");
    expect(await deliver()).toBe(1);
  });

  it("holds what a queued replay, an open job and an open dead letter point at, and only that", async () => {
    const owner = await createTestPipeline(store.sql);
    const source = await capture(owner, ['"replayed"', '"of a job"', '"dead"', '"discarded"', '"done"']);
    expect(await deliver()).toBe(1);
    const old = await ageBatch(store.sql, source, 10);
    const [made] = await store.sql<
      { id: bigint; lane: bigint }[]
    >`select onedata.next_id() as id, (select min(id) from onedata.lanes where pipeline_id = ${owner.pipelineId}) as lane`;
    const replay = toBatchId(made?.id ?? 0n);
    await store.sql`insert into onedata.batches (id, seq, tenant_id, pipeline_id, lane_id, kind, n, bytes) values (${replay}, nextval('onedata.batch_seq'), ${owner.tenantId}, ${owner.pipelineId}, ${made?.lane ?? 0n}, 'replay', 1, 10)`;
    await store.sql`insert into onedata.batch_refs (batch_id, n, src_batch_id, src_n) values (${replay}, 0, ${old}, 0)`;
    await store.sql`insert into onedata.queue (batch_id, seq, lane_id, n, bytes, kind) select id, seq, lane_id, n, bytes, kind from onedata.batches where id = ${replay}`;
    const [job] = await store.sql<
      { id: bigint }[]
    >`insert into onedata.jobs (tenant_id, pipeline_id, kind, state) values (${owner.tenantId}, ${owner.pipelineId}, 'backfill', 'running') returning id`;
    await store.sql`insert into onedata.job_items (job_id, position, src_batch_id, src_n) values (${job?.id ?? 0n}, 0, ${old}, 1)`;
    for (const [n, state] of [
      [2, "open"],
      [3, "discarded"],
    ] as const)
      await store.sql`insert into onedata.dead_letters (tenant_id, pipeline_id, batch_id, n, code, fingerprint, message, state) values (${owner.tenantId}, ${owner.pipelineId}, ${old}, ${n}, 'x', 'f', 'm', ${state})`;

    // A step of the job may be under way: it is left to end.
    expect((await dropDays(store, { cutoff: daysAgo(7) })).state).toBe("waiting");
    expect(await dropDays(store, { cutoff: daysAgo(7) })).toMatchObject({ state: "done", held: { batches: 1, events: 3, runs: 1, outputs: 0 } });
    expect(await store.sql`select payload from onedata.events where batch_id = ${old} order by n`).toEqual([
      { payload: '"replayed"' },
      { payload: '"of a job"' },
      { payload: '"dead"' },
    ]);
    await store.sql`update onedata.queue set available_at = null`;
    const [claimed] = await claim();
    expect((await loadEvents(store, claimed === undefined ? [] : [claimed])).get(replay)).toMatchObject([
      { payload: '"replayed"', source: { batchId: old, n: 0 } },
    ]);
  });

  it("holds up no capture, claim or completion while an application's transaction is open, and finishes after it", async () => {
    const owner = await createTestPipeline(store.sql);
    await capture(owner, ["0"]);
    await deliver();
    await ageBatch(store.sql, await capture(owner, ["1"]), 9);
    await store.sql`delete from onedata.queue`;
    const application = connect(database.url, { max: 1, applicationName: "application" });
    try {
      await application`insert into onedata.principals (tenant_id, kind, subject) values (${owner.tenantId}, 'database', current_user)`;
      await application.unsafe("begin");
      await application`select onedata.capture(${owner.name}, '{"by":"the application"}')`;
      const blockedFor: number[] = [];
      let rounds = 0;
      for (; rounds < 4; rounds++) {
        const dropping = dropDays(store, { cutoff: daysAgo(7), lockTimeoutMs: 300 });
        const isOver = dropping.then(() => true);
        for (;;) {
          const startedAt = performance.now();
          await capture(owner, ["2"]);
          expect(await deliver()).toBe(1);
          blockedFor.push(performance.now() - startedAt);
          if (await Promise.race([isOver, new Promise<false>((later) => setImmediate(later, false))])) break;
        }
        if ((await dropping).state === "done") break;
      }
      // Behind a plain DETACH each would wait for the application, or fail for its own lock timeout. (Measured: below 50 ms.)
      expect(Math.max(...blockedFor)).toBeLessThan(10_000);
      expect(blockedFor.length).toBeGreaterThan(3);
      await application.unsafe("commit");
      await expect.poll(async () => (await dropDays(store, { cutoff: daysAgo(7) })).state).toBe("nothing");
      expect((await listPartitions(store.sql, eventTables)).some(({ isPending }) => isPending)).toBe(false);
      expect(await tablesOf("events")).toHaveLength(5);
      expect(await deliver()).toBe(1);
    } finally {
      await application.end({ timeout: 5 });
    }
  });

  it("goes on where another process was killed, and has lost nothing", async () => {
    const paused = await createTestPipeline(store.sql);
    await pause(paused, "paused");
    const waiting = await ageBatch(store.sql, await capture(paused, ["1", "2"]), 9);
    const blocker = connect(database.url, { max: 1, applicationName: "blocker" });
    try {
      await blocker.unsafe("begin");
      await blocker`select count(*) from onedata.events`;
      // Young enough not to be waited for, and then in the way of `events`, after `runs`, `outputs` and `batch_refs` are out. Others' locks of a moment put it off too.
      const before = await tablesOf("batch_refs");
      do expect((await dropDays(store, { cutoff: daysAgo(7), lockTimeoutMs: 50 })).state).toBe("waiting");
      while ((await tablesOf("batch_refs")).length === before.length);
      // Resumed too early: nothing can be decided on rows that are out of sight.
      await pause(paused, "running");
      await expect(deliver()).rejects.toMatchObject({ code: "23514" });
      await expect(getEvent(store.sql, paused.tenantId, { batchId: waiting, n: 1 })).rejects.toMatchObject({ code: "store.busy" });
      await blocker.unsafe("commit");
    } finally {
      await blocker.end({ timeout: 5 });
    }
    await store.sql`update onedata.queue set run_id = null, owner = null, state = 'ready'`;
    expect(await dropDays(store, { cutoff: daysAgo(7) })).toMatchObject({ state: "done", held: { batches: 1, events: 2 } });
    expect(await deliver()).toBe(1);
    expect(await getEvent(store.sql, paused.tenantId, { batchId: waiting, n: 1 })).toMatchObject({ payload: "2", verdict: 1 });
  });

  it("ends the same when the process dies before any of its statements", async () => {
    const paused = await createTestPipeline(store.sql);
    const busy = await createTestPipeline(store.sql);
    await pause(paused, "paused");
    const waiting = await ageBatch(store.sql, await capture(paused, ["1", "2"]), 9);
    const first = await capture(busy, ["3"]);
    await deliver();
    const gone = await ageBatch(store.sql, first, 9);
    let cuts = 0;
    // Before its first statement, its second, and so on, until one gets to its end.
    for (let state = ""; state !== "nothing"; cuts++) {
      const victim = connect(database.url, { max: 1, applicationName: "victim" });
      state = await dropDaysOn(dieBefore(victim, cuts), { cutoff: daysAgo(7) }).then(
        (dropped) => dropped.state,
        () => "died",
      );
      await victim.end({ timeout: 0 });
    }
    expect(cuts).toBeGreaterThan(40);
    expect(await dropDays(store, { cutoff: daysAgo(7) })).toMatchObject({ state: "nothing" });
    expect(await tablesOf("events")).toHaveLength(6);
    await expect(getEvent(store.sql, busy.tenantId, { batchId: gone, n: 0 })).rejects.toMatchObject({ code: "event.not_found" });
    await pause(paused, "running");
    expect(await deliver()).toBe(1);
    expect(await getEvent(store.sql, paused.tenantId, { batchId: waiting, n: 1 })).toMatchObject({ payload: "2", verdict: 1 });
    const [leftovers] = await store.sql<{ n: number }[]>`
      select count(*)::int as n from pg_class where relnamespace = 'onedata'::regnamespace and relkind = 'r' and not relispartition and relname ~ '_[ph][0-9a-z]+$' and relname ~ '^(runs|outputs|events|batches|batch_refs)'`;
    expect(leftovers?.n).toBe(0);
  });
});
