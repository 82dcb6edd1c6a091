import { randomUUID } from "node:crypto";
import { type BatchId } from "@onedata/core";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type CaptureOutcome, captureGroup } from "./capture.ts";
import type { CaptureTarget } from "./capture-batches.ts";
import { type ClaimedBatch, type ClaimedRun, claimRun } from "./claim.ts";
import { createClaimer } from "./claimer.ts";
import { type CompletedBatch, completeRun } from "./complete.ts";
import { openStore, type Store } from "./connection.ts";
import { loadEvents } from "./events.ts";
import { reclaim, registerEngine, renewLease } from "./lease.ts";
import { blockLanes, releaseRun, unblockLanes } from "./release.ts";
import { shardOf, shardVector } from "./shard.ts";
import { openProxy } from "./test-proxy.ts";
import { createTestPipeline, openTestDatabase, type TestDatabase, type TestPipelineOptions } from "./testing.ts";

let database: TestDatabase;
let store: Store;
const engine = randomUUID();

beforeAll(async () => {
  database = await openTestDatabase();
  store = openStore(database.url);
  await registerEngine(store, { incarnation: engine, slots: 2, leaseMs: 60_000 });
});
afterAll(async () => {
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

const capture = async (target: CaptureTarget, ...payloads: string[]): Promise<CaptureOutcome[]> =>
  (await captureGroup(store, [{ target, events: payloads.map((payload) => ({ payload })) }])).flat();

const claim = async (options: Partial<Parameters<typeof claimRun>[1]> = {}): Promise<ClaimedRun | undefined> =>
  (await claimRun(store, { runId: randomUUID(), owner: engine, deadlineMs: 60_000, ...options })).run;

const delivered = (batch: ClaimedBatch, extra: Partial<CompletedBatch> = {}): CompletedBatch => ({
  ...batch,
  orderedLaneId: batch.ordered ? batch.laneId : undefined,
  verdicts: new Uint8Array(batch.n).fill(1),
  counts: { delivered: batch.n, filtered: 0, dead: 0 },
  ...extra,
});
const complete = (
  run: ClaimedRun,
  batches: readonly CompletedBatch[] = run.batches.map((batch) => delivered(batch)),
): Promise<ReadonlySet<BatchId>> => completeRun(store, { runId: run.runId, engine, wokenBy: "test", durationMs: 5, batches });

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
    const events = await loadEvents(store, batches);
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

describe("claim and completion", () => {
  it("takes batches of many lanes of one route, loads, and completes them", async () => {
    const targets = [await pipeline({ route: "r1" }), await pipeline({ route: "r1" }), await pipeline({ route: "r2" })];
    for (const target of targets) await capture(target, "1", "2");
    const run = await claim({ route: "r1" });
    expect(run?.batches.length).toBe(2);
    expect(run?.batches.map(({ version, attempt }) => [version, attempt])).toEqual([
      [1, 1],
      [1, 1],
    ]);
    expect(await claim({ route: "r1" })).toBeUndefined();
    expect((await claim({ skipRoutes: ["r1"] }))?.route).toBe("r2");
    if (run === undefined) throw new Error("no run");
    const first = run.batches[0];
    if (first === undefined) throw new Error("no batch");
    const done = await complete(
      run,
      run.batches.map((batch) =>
        delivered(
          batch,
          batch === first
            ? {
                verdicts: Uint8Array.of(1, 2),
                counts: { delivered: 1, filtered: 0, dead: 1 },
                deadLetters: [{ n: 1, step: "s", code: "record.invalid", fingerprint: "f", message: "bad \0", payload: '"\\u0000"' }],
                outputs: [{ sink: 0, ordinals: [0, 0], payloads: ["1", "1.5"] }],
              }
            : {},
        ),
      ),
    );
    expect(done).toEqual(new Set(run.batches.map(({ batchId }) => batchId)));
    const [letter] = await store.sql`select n, payload, message from onedata.dead_letters where batch_id = ${first.batchId}`;
    expect(letter).toEqual({ n: 1, payload: '"\\u0000"', message: "bad \ufffd" });
    const [output] = await store.sql`select ordinals, payloads from onedata.outputs where batch_id = ${first.batchId}`;
    expect(output).toEqual({ ordinals: [0, 0], payloads: "1\u001e1.5" });
    const [verdicts] = await store.sql`select verdicts from onedata.runs where batch_id = ${first.batchId}`;
    expect(verdicts?.["verdicts"]).toEqual(Buffer.from([1, 2]));
  });

  it("lets a completion with an old fence do nothing", async () => {
    const target = await pipeline();
    await capture(target, "1");
    const stalled = await claim();
    if (stalled === undefined) throw new Error("no run");
    await store.sql`update onedata.queue set run_deadline = now() - interval '1 second'`;
    await store.sql`update onedata.engines set alive_until = alive_until`;
    const taken = await reclaimAfterStart();
    expect(taken.map(({ failures, suspect }) => [failures, suspect])).toEqual([[1, false]]);
    const successor = await claim();
    if (successor === undefined) throw new Error("no successor");
    expect(successor.batches[0]?.attempt).toBe(2);
    const letter = { n: 0, step: "s", code: "c", fingerprint: "f", message: "m", payload: "1" };
    expect(
      await complete(
        stalled,
        stalled.batches.map((batch) => delivered(batch, { deadLetters: [letter], outputs: [{ sink: 0, ordinals: [0], payloads: ["1"] }] })),
      ),
    ).toEqual(new Set());
    expect((await complete(successor)).size).toBe(1);
    const batchId = stalled.batches[0]?.batchId ?? 0n;
    const [rows] =
      await store.sql`select (select count(*) from onedata.runs where batch_id = ${batchId})::int runs, (select count(*) from onedata.dead_letters where batch_id = ${batchId})::int letters,
      (select count(*) from onedata.outputs where batch_id = ${batchId})::int outputs`;
    expect(rows).toEqual({ runs: 1, letters: 0, outputs: 0 });
  });

  it("returns a partly done batch with its progress and delay", async () => {
    const target = await pipeline();
    await capture(target, "1", "2", "3");
    const run = await claim();
    if (run === undefined) throw new Error("no run");
    await complete(
      run,
      run.batches.map((batch) =>
        delivered(batch, {
          verdicts: Uint8Array.of(1, 0, 1),
          counts: { delivered: 2, filtered: 0, dead: 0 },
          left: { progress: [{ n: 1, tries: 1, sinksDone: ["a"] }], bytes: 1, delayMs: 60_000 },
        }),
      ),
    );
    expect(await claim()).toBeUndefined();
    await store.sql`update onedata.queue set available_at = now()`;
    const again = await claim();
    expect(again?.batches[0]).toMatchObject({ n: 1, attempt: 2, progress: [{ n: 1, tries: 1, sinksDone: ["a"] }] });
    if (again !== undefined) await complete(again);
    expect((await store.sql`select count(*)::int c from onedata.runs where batch_id = ${run.batches[0]?.batchId ?? 0n}`)[0]?.["c"]).toBe(2);
  });

  it("keeps full bulk batches from filling the run, and bulk from starving", async () => {
    const live = await Promise.all(Array.from({ length: 20 }, () => pipeline()));
    const bulk = { ...(await pipeline()), laneClass: "bulk" as const };
    for (let i = 0; i < 10; i++) await capture(bulk, ...Array.from({ length: 100 }, () => "1"));
    for (let i = 0; i < 30; i++)
      await captureGroup(
        store,
        live.map((target) => ({ target, events: [{ payload: "1" }] })),
      );
    const run = await claim();
    const events = { live: 0, bulk: 0 };
    for (const batch of run?.batches ?? []) events[batch.laneClass] += batch.n;
    expect(events).toEqual({ live: 400, bulk: 100 });
  });

  it("gives lanes shares by weight", async () => {
    const light = await pipeline({ weight: 1 });
    const heavy = await pipeline({ weight: 3 });
    for (let i = 0; i < 600; i++)
      await captureGroup(
        store,
        [light, heavy].map((target) => ({ target, events: [{ payload: "1" }] })),
      );
    const run = await claim({ maxEvents: 400 });
    expect(run?.batches.filter((batch) => batch.pipelineId === heavy.pipelineId).length).toBeCloseTo(300, -1);
  });

  it("takes nothing of paused or blocked lanes, nor less than asked for", async () => {
    const target = await pipeline({ route: "blocked" });
    await capture(target, "1");
    expect(await claim({ minEvents: 2 })).toBeUndefined();
    await blockLanes(store, { route: "blocked" }, { backoff: { firstMs: 60_000, mostMs: 60_000 }, jitter: 1, reason: "service down" });
    expect(await claim()).toBeUndefined();
    await unblockLanes(store, { route: "blocked" });
    await store.sql`update onedata.pipelines set state = 'paused' where id = ${target.pipelineId}`;
    expect(await claim()).toBeUndefined();
    await store.sql`update onedata.pipelines set state = 'running' where id = ${target.pipelineId}`;
    expect((await claim())?.events).toBe(1);
  });

  it("takes a broker's batches first", async () => {
    const target = await pipeline();
    for (let i = 0; i < 20; i++) await capture(target, String(i));
    const waiting = await store.sql<{ id: BatchId }[]>`select batch_id as id from onedata.queue order by seq`;
    const wanted = waiting.slice(5, 8).map(({ id }) => id);
    const run = await claim({ prefer: wanted, maxEvents: 4 });
    expect(run?.batches.map(({ batchId }) => batchId)).toEqual([waiting[0]?.id, ...wanted]);
  });

  it("looks at all lanes in turn, however many wait", async () => {
    const tenant = await pipeline();
    const made = await store.sql`
      with p as (insert into onedata.pipelines (tenant_id, name, active_version) select ${tenant.tenantId}, gen_random_uuid(), 1 from generate_series(1, 450) returning id)
      select onedata.make_lanes(id) from p`;
    expect(made.length).toBe(450);
    await store.sql`insert into onedata.queue (batch_id, seq, lane_id, n, bytes)
      select onedata.next_id(), nextval('onedata.batch_seq'), l.id, 1, 10 from onedata.lanes l, generate_series(1, 4) where l.tenant_id = ${tenant.tenantId} and l.class = 'live' and l.pipeline_id <> ${tenant.pipelineId}`;
    const claimer = createClaimer(store);
    const lanes = new Set<bigint>();
    for (let i = 0; i < 3; i++) {
      const run = await claimer.claim({ runId: randomUUID(), owner: engine, deadlineMs: 60_000, maxEvents: 200 });
      for (const { laneId } of run?.batches ?? []) lanes.add(laneId);
    }
    expect(lanes.size).toBe(450);
  });

  it("frees the version on release unless a write has begun", async () => {
    const target = await pipeline();
    await capture(target, "1");
    const run = await claim();
    expect(await releaseRun(store, { runId: run?.runId ?? "" })).toBe(1);
    expect((await store.sql`select version, failures, attempt from onedata.queue`)[0]).toEqual({ version: null, failures: 0, attempt: 1 });
    const next = await claim();
    await releaseRun(store, { runId: next?.runId ?? "", keepVersion: next?.batches.map(({ batchId }) => batchId) ?? [] });
    expect((await store.sql`select version from onedata.queue`)[0]).toEqual({ version: 1 });
  });

  it("makes a suspect of what crashed twice and claims it alone", async () => {
    const target = await pipeline();
    await capture(target, "1");
    await capture(target, "2");
    for (let i = 0; i < 2; i++) {
      const run = await claim();
      expect(run?.batches.length).toBe(2);
      await releaseRun(store, { runId: run?.runId ?? "", crashed: true });
    }
    expect(await claim()).toBeUndefined();
    const suspect = await claim({ suspect: true });
    expect(suspect?.batches.length).toBe(1);
    const other = await claim({ suspect: true });
    expect(other?.batches.length).toBe(1);
    expect(other?.batches[0]?.batchId).not.toBe(suspect?.batches[0]?.batchId);
  });

  it("renews a living engine and refuses an expired one", async () => {
    const incarnation = randomUUID();
    await registerEngine(store, { incarnation, slots: 1, leaseMs: 10_000 });
    expect(await renewLease(store, { incarnation, leaseMs: 10_000 })).toContain(incarnation);
    await store.sql`update onedata.engines set alive_until = now() - interval '1 hour', renewed_at = now() - interval '1 hour' - interval '10 seconds' where incarnation = ${incarnation}`;
    // Alive as long as the server has not been up for a lease.
    await expect.poll(() => renewLeaseIsRefused(incarnation), { timeout: 20_000 }).toBe(true);
  });
});

async function renewLeaseIsRefused(incarnation: string): Promise<boolean> {
  const [row] = await store.sql`select pg_postmaster_start_time() + interval '10 seconds' < clock_timestamp() as old`;
  return row?.["old"] === true ? (await renewLease(store, { incarnation, leaseMs: 10_000 })) === undefined : false;
}

/** Deadlines count from the server's start, and the test server may be younger than ten seconds. */
async function reclaimAfterStart(): Promise<Awaited<ReturnType<typeof reclaim>>> {
  await expect
    .poll(async () => (await store.sql`select pg_postmaster_start_time() + interval '10 seconds' < clock_timestamp() as old`)[0]?.["old"], {
      timeout: 20_000,
    })
    .toBe(true);
  return reclaim(store);
}
