/** Each finding is provoked in a real database and found; a database on which engines crashed and recovered has none. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { captureGroup } from "../capture.ts";
import type { CaptureTarget } from "../capture-batches.ts";
import { claimRun } from "../claim.ts";
import { completeRun } from "../complete.ts";
import { connect, openStore, type Store } from "../connection.ts";
import { registerEngine } from "../lease.ts";
import { blockLanes, releaseRun } from "../release.ts";
import { countRowsRead, createTestPipeline, openTestDatabase, type TestDatabase } from "../testing.ts";
import type { Finding, Thresholds } from "./check.ts";
import { readFindings, readSystemFigures, reconcilePass, worstFirst } from "./findings.ts";
import { type ReconcileOptions, reconcile } from "./reconcile.ts";

let database: TestDatabase;
let store: Store;
let engine = "";
beforeAll(async () => {
  database = await openTestDatabase();
  store = openStore(database.url);
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

/** A look at everything takes seconds on a busy machine. */
const LOOKS = { timeout: 60_000, interval: 100 };
const look = (thresholds: Partial<Thresholds> = {}, options: Partial<ReconcileOptions> = {}): Promise<readonly Finding[]> =>
  reconcile(store.sql, { random: () => 0, now: Date.now, thresholds: { restartGraceMs: 0, freeDiskBytes: 0, ...thresholds }, ...options });
const find = async (check: string, thresholds: Partial<Thresholds> = {}, options: Partial<ReconcileOptions> = {}) => {
  const found = (await look(thresholds, options)).find((finding) => finding.check === check);
  if (found === undefined) throw new Error(`no check ${check}`);
  return found;
};
/** The machine's disk is no business of this test. */
const wrong = async () => (await look()).filter(({ state, check }) => state !== "ok" && check !== "database.disk");

async function pipeline(ordering?: string): Promise<CaptureTarget & { readonly name: string }> {
  const made = await createTestPipeline(store.sql, ordering === undefined ? {} : { ordering });
  return { ...made, version: 1, laneClass: "live", ordered: ordering !== undefined };
}
const capture = async (target: CaptureTarget, count = 3, orderingKey?: string): Promise<void> => {
  const events = Array.from({ length: count }, (_, i) => ({ payload: String(i), ...(orderingKey === undefined ? {} : { orderingKey }) }));
  await captureGroup(store, [{ target, events }]);
};
const claim = async () => {
  const runId = randomUUID();
  const { run } = await claimRun(store, { runId, owner: engine, deadlineMs: 60_000 });
  return { runId, batches: run?.batches ?? [] };
};
const complete = ({ runId, batches }: Awaited<ReturnType<typeof claim>>): Promise<unknown> =>
  completeRun(store, {
    runId,
    engine,
    wokenBy: "test",
    durationMs: 1,
    batches: batches.map((batch) => ({
      ...batch,
      orderedLaneId: batch.ordered ? batch.laneId : undefined,
      verdicts: new Uint8Array(batch.n).fill(1),
      counts: { delivered: batch.n, filtered: 0, dead: 0 },
    })),
  });
/** What is a minute old is looked at: ids carry their time. */
const age = async (): Promise<void> => {
  await store.sql`select onedata.ensure_partitions(1)`;
  const shift = store.sql`(90000::bigint << 20)`;
  for (const table of ["batches", "events", "runs", "queue", "batch_refs"]) {
    const column = store.sql(table === "batches" ? "id" : "batch_id");
    await store.sql`update ${store.sql(`onedata.${table}`)} set ${column} = ${column} - ${shift}`;
  }
};
const clear = async (): Promise<void> => {
  await store.sql`truncate onedata.queue, onedata.batches, onedata.events, onedata.batch_refs, onedata.runs, onedata.dead_letters, onedata.imports, onedata.jobs, onedata.tallies,
    onedata.engines, onedata.findings, onedata.lanes, onedata.connections, onedata.subscriptions cascade`;
  engine = randomUUID();
  await registerEngine(store, { incarnation: engine, slots: 2, leaseMs: 60_000 });
};

describe("a healthy database", () => {
  it("shows nothing after work, releases, crashes and takeovers", async () => {
    await clear();
    const [plain, ordered] = [await pipeline(), await pipeline("k")];
    for (let round = 0; round < 4; round++) {
      await capture(plain, 5);
      await capture(ordered, 5, "a");
      const run = await claim();
      if (round === 1) await releaseRun(store, { runId: run.runId, crashed: true });
      // An engine that died: its successor takes over, and its own late completion does nothing.
      if (round === 2) await store.sql`update onedata.queue set run_id = ${randomUUID()}, attempt = attempt + 1 where run_id = ${run.runId}`;
      await complete(run);
      if (round === 2) await store.sql`update onedata.lane_runs set run_id = null`;
      if (round === 2) await store.sql`update onedata.queue set run_id = null, owner = null, state = 'ready'`;
    }
    for (let run = await claim(); run.batches.length > 0; run = await claim()) await complete(run);
    await age();
    expect(await wrong()).toEqual([]);
    expect((await readSystemFigures(store.sql)).enginesAlive).toBe(1);
  });

  it("reads a part of the events of ten thousand waiting batches, never all, and takes no lock", async () => {
    await clear();
    const target = await pipeline();
    await capture(target, 100);
    await store.sql`
      with made as (
        insert into onedata.batches (id, seq, tenant_id, pipeline_id, lane_id, n, bytes)
        select b.id + i, b.seq + i, b.tenant_id, b.pipeline_id, b.lane_id, 100, 100 from onedata.batches b, generate_series(1, 10000) i returning *
      ), filled as (
        insert into onedata.events (batch_id, n, payload) select m.id, o, '1' from made m, generate_series(0, 99) o
      ) insert into onedata.queue (batch_id, seq, lane_id, n, bytes) select id, seq, lane_id, 100, 100 from made`;
    const single = connect(database.url, { max: 1, applicationName: "test" });
    const read = await countRowsRead(single, "events%", () =>
      reconcile(single, { random: () => 0, now: Date.now, thresholds: { restartGraceMs: 0, freeDiskBytes: 0 } }),
    );
    await single.end();
    expect(read.byFullScan).toBe(0);
    expect(read.rows).toBeGreaterThan(0);
    expect(read.rows).toBeLessThan(200_000);
  });
});

describe("in the queue", () => {
  it("finds runs of dead engines, and that no engine is alive", async () => {
    await clear();
    await capture(await pipeline());
    const run = await claim();
    expect(await find("queue.orphaned_runs")).toMatchObject({ state: "ok" });
    await registerEngine(store, { incarnation: randomUUID(), slots: 1, leaseMs: 60_000 });
    await store.sql`update onedata.engines set renewed_at = now() - interval '10 minutes', alive_until = now() - interval '9 minutes' where incarnation = ${engine}`;
    expect(await find("queue.orphaned_runs")).toMatchObject({ state: "failed", count: 1, examples: [expect.stringMatching(/^evt_/)] });
    await store.sql`delete from onedata.engines`;
    expect(await find("engines.alive")).toMatchObject({ state: "failed", detail: "no engine is alive, and events wait" });
    await registerEngine(store, { incarnation: engine, slots: 1, leaseMs: 60_000 });
    await store.sql`update onedata.queue set run_deadline = now() - interval '1 minute' where run_id = ${run.runId}`;
    expect(await find("queue.orphaned_runs")).toMatchObject({ state: "failed", count: 1 });
  });

  it("finds rows without events, and rows that have their verdicts", async () => {
    await clear();
    await capture(await pipeline());
    await store.sql`create table kept as select * from onedata.queue`;
    await complete(await claim());
    await store.sql`insert into onedata.queue select * from kept`;
    expect(await find("queue.finished_rows")).toMatchObject({ state: "failed", count: 1 });
    expect(await find("queue.missing_events")).toMatchObject({ state: "ok" });
    await store.sql`truncate onedata.events`;
    expect(await find("queue.missing_events")).toMatchObject({ state: "failed", count: 1 });
    await store.sql`drop table kept`;
  });

  it("finds lanes that are held by nobody, blocked for nothing, or blocked for long", async () => {
    await clear();
    const target = await pipeline("k");
    await capture(target, 1, "a");
    await claim();
    expect(await wrong()).toEqual([]);
    await store.sql`update onedata.lane_runs set run_id = ${randomUUID()} where run_id is not null`;
    expect(await find("lanes.stranded")).toMatchObject({ state: "failed", count: 1, examples: [target.name] });
    await store.sql`update onedata.queue set run_id = null, owner = null, state = 'ready'`;
    await store.sql`update onedata.lanes set blocked_until = now() + interval '1 hour', block_failures = 0 where pipeline_id = ${target.pipelineId} and class = 'live' and shard = 0`;
    expect(await find("lanes.block_without_failure")).toMatchObject({ state: "failed", count: 1 });
    await store.sql`update onedata.lanes set blocked_until = null`;
    const lanes = await store.sql<{ id: bigint }[]>`select distinct lane_id as id from onedata.queue`;
    await blockLanes(
      store,
      { laneIds: lanes.map(({ id }) => id as never) },
      { backoff: { firstMs: 60_000, mostMs: 60_000 }, jitter: 1, reason: "service enrich: refused" },
    );
    await store.sql`update onedata.lanes set block_since = now() - interval '3 minutes' where block_failures > 0`;
    expect(await find("pipelines.blocked")).toMatchObject({ state: "warning", detail: expect.stringContaining("service enrich: refused") });
  });

  it("finds what nothing holds back and nobody takes, what a broker forgot, and what a pause holds", async () => {
    await clear();
    const target = await pipeline();
    await capture(target);
    await age();
    expect(await find("queue.stuck")).toMatchObject({ state: "ok" });
    await store.sql`update onedata.batches set id = id - (200000::bigint << 20)`;
    await store.sql`update onedata.events set batch_id = batch_id - (200000::bigint << 20)`;
    await store.sql`update onedata.queue set batch_id = batch_id - (200000::bigint << 20)`;
    expect(await find("queue.stuck")).toMatchObject({ state: "warning", count: 1 });
    await store.sql`update onedata.queue set state = 'published', published_at = now() - interval '1 hour'`;
    expect(await find("queue.published_stale")).toMatchObject({ state: "warning", count: 1 });
    await store.sql`update onedata.pipelines set state = 'paused' where id = ${target.pipelineId}`;
    expect(await find("pipelines.paused")).toMatchObject({ state: "warning", examples: [target.name] });
    expect(await find("queue.stuck")).toMatchObject({ state: "ok" });
    await store.sql`update onedata.engines set broker_state = 'down: refused'`;
    expect(await find("broker.state")).toMatchObject({ state: "warning", detail: expect.stringContaining("down: refused") });
    // Names are given by people, and engines may share one.
    await registerEngine(store, { incarnation: randomUUID(), slots: 1, leaseMs: 60_000 });
    await store.sql`update onedata.engines set name = 'engine', broker_state = 'down: refused'`;
    const { examples } = await find("broker.state");
    expect(new Set(examples).size).toBe(2);
    for (const example of examples) expect(example).toMatch(/^engine \([0-9a-f]{8}\)$/);
  });
});

describe("of events, imports and jobs", () => {
  it("finds an event that has neither a place nor a verdict, and one that has two", async () => {
    await clear();
    const target = await pipeline();
    await capture(target, 3);
    await complete(await claim());
    await capture(target, 3);
    const run = await claim();
    await complete(run);
    await age();
    expect(await wrong()).toEqual([]);
    await store.sql`update onedata.runs set verdicts = decode('010001', 'hex') where run_id = ${run.runId}`;
    expect(await find("batches.unanswered")).toMatchObject({ state: "failed", count: 1, examples: [expect.stringMatching(/_1$/)] });
    await store.sql`update onedata.runs set verdicts = decode('010101', 'hex') where run_id = ${run.runId}`;
    await store.sql`insert into onedata.runs (batch_id, attempt, run_id, started_at, outcome, verdicts) select batch_id, attempt + 1, ${randomUUID()}, now(), 'final', decode('000001', 'hex') from onedata.runs where run_id = ${run.runId}`;
    expect(await find("events.two_verdicts")).toMatchObject({ state: "failed", count: 1, examples: [expect.stringMatching(/_2$/)] });
    await store.sql`delete from onedata.runs`;
    expect(await find("batches.unanswered")).toMatchObject({ state: "failed", count: 2 });
  });

  it("finds imports with too many results, jobs that do not move, dead letters of ended jobs, webhooks that fail, and secrets of another key", async () => {
    await clear();
    const { tenantId, pipelineId } = await pipeline();
    const [made] = await store.sql<{ id: bigint }[]>`
      insert into onedata.imports (tenant_id, pipeline_id, media_type, accepted) values (${tenantId}, ${pipelineId}, 'text/csv', 5) returning id`;
    await store.sql`insert into onedata.tallies (owner_id, stripe, delivered) values (${made?.id ?? 0n}, 0, 5)`;
    expect(await find("imports.tallies")).toMatchObject({ state: "ok" });
    await store.sql`insert into onedata.tallies (owner_id, stripe, dead) values (${made?.id ?? 0n}, 1, 1)`;
    expect(await find("imports.tallies")).toMatchObject({ state: "failed", count: 1, examples: [expect.stringMatching(/^imp_/)] });
    const [job] = await store.sql<{ id: bigint }[]>`
      insert into onedata.jobs (tenant_id, pipeline_id, kind, state, updated_at) values (${tenantId}, ${pipelineId}, 'replay', 'running', now() - interval '1 hour') returning id`;
    expect(await find("jobs.stalled")).toMatchObject({ state: "warning", count: 1, examples: [expect.stringMatching(/^job_/)] });
    await store.sql`insert into onedata.dead_letters (tenant_id, pipeline_id, batch_id, n, code, fingerprint, message, state, job_id)
      values (${tenantId}, ${pipelineId}, 7, 0, 'record.invalid', 'f', 'm', 'replaying', ${job?.id ?? 0n})`;
    expect(await find("dead_letters.replaying")).toMatchObject({ state: "ok" });
    await store.sql`update onedata.jobs set state = 'done', finished_at = now() - interval '1 hour'`;
    expect(await find("dead_letters.replaying")).toMatchObject({ state: "failed", count: 1, examples: [expect.stringMatching(/^dl_/)] });
    await store.sql`insert into onedata.subscriptions (tenant_id, url, topics, failures, problem) values (${tenantId}, 'https://x.example', '{}', 5, 'the last 5 tries failed')`;
    expect(await find("webhooks.failing")).toMatchObject({ state: "warning", detail: expect.stringContaining("the last 5 tries failed") });
    await store.sql`insert into onedata.connections (tenant_id, name, kind, secret, secret_key_id) values (${tenantId}, 'warehouse', 'postgres', decode('00', 'hex'), 'old-key password')`;
    expect(await find("connections.secret_key", {}, { secretKeyId: "old-key" })).toMatchObject({ state: "ok" });
    expect(await find("connections.secret_key", {}, { secretKeyId: "new-key" })).toMatchObject({ state: "failed", examples: ["warehouse"] });
  });
});

describe("of the server", () => {
  it("finds old transactions, held WAL, dead rows, transaction age, little disk, and a clock that differs", async () => {
    await clear();
    const holder = openStore(database.url, { applicationName: "an application" });
    const release = new AbortController();
    const held = new Promise<void>((settle) => release.signal.addEventListener("abort", () => settle()));
    const holding = holder.sql.begin(async (tx) => {
      await tx`select 1`;
      await held;
    });
    try {
      await expect
        .poll(() => find("database.old_transactions", { oldTransactionMs: 0 }), LOOKS)
        .toMatchObject({ state: "warning", detail: expect.stringContaining("an application, idle in transaction") });
      expect(await find("database.old_transactions")).toMatchObject({ state: "ok" });
    } finally {
      release.abort();
      await holding;
      await holder[Symbol.asyncDispose]();
    }
    const slot = `s_${randomUUID().slice(0, 8)}`;
    await store.sql`select pg_create_physical_replication_slot(${slot}, true)`;
    try {
      await store.sql`select pg_switch_wal()`;
      expect((await find("database.replication_slots", { heldWalBytes: -1 })).examples).toContain(slot);
    } finally {
      await store.sql`select pg_drop_replication_slot(${slot})`;
    }
    await store.sql`insert into onedata.queue (batch_id, seq, lane_id, n, bytes) select -i, 0, 0, 1, 1 from generate_series(1, 500) i`;
    await store.sql`delete from onedata.queue where batch_id < 0`;
    await expect.poll(() => find("database.queue_bloat", { deadQueueRows: 100 }), LOOKS).toMatchObject({ state: "warning" });
    expect(await find("database.xid_age", { transactionAge: -1 })).toMatchObject({ state: "warning" });
    expect(await find("database.disk", { freeDiskBytes: 2 ** 62 })).toMatchObject({
      state: "failed",
      detail: expect.stringContaining("of its disk are free"),
    });
    expect(await find("clock.skew", {}, { now: () => Date.now() - 5_000 })).toMatchObject({
      state: "warning",
      detail: expect.stringContaining("ahead of"),
    });
    expect(await find("clock.skew", {}, { now: () => Date.now() + 60_000 })).toMatchObject({
      state: "failed",
      detail: expect.stringContaining("behind"),
    });
  });

  it("finds missing partitions and a schema that is not this release's", async () => {
    await clear();
    const [tomorrow] = await store.sql<
      { name: string }[]
    >`select 'outputs_p' || to_char((clock_timestamp() at time zone 'UTC')::date + 1, 'YYYYMMDD') as name`;
    await store.sql`drop table ${store.sql(`onedata.${tomorrow?.name ?? ""}`)}`;
    expect(await find("database.partitions")).toMatchObject({ state: "failed", count: 1, examples: [tomorrow?.name] });
    await store.sql`select onedata.ensure_partitions(3)`;
    expect(await find("database.partitions")).toMatchObject({ state: "ok" });
    await store.sql`insert into onedata.migrations (number, name, hash) values (9999, '9999_newer.sql', 'x')`;
    expect(await find("database.schema")).toMatchObject({ state: "warning", examples: ["9999_newer.sql"] });
    await store.sql`update onedata.migrations set number = 9998 where number = 1`;
    expect(await find("database.schema")).toMatchObject({ state: "failed", examples: ["0001_hot_path.sql"] });
    await store.sql`delete from onedata.migrations where number = 9999`;
    await store.sql`update onedata.migrations set number = 1 where number = 9998`;
  });

  it("says what it cannot look at, and goes on with the others", async () => {
    await clear();
    await store.sql`alter table onedata.tallies rename to tallies_away`;
    await store.sql`insert into onedata.imports (tenant_id, pipeline_id, media_type, accepted) values (1, 1, 'text/csv', 5)`;
    const findings = await look();
    await store.sql`alter table onedata.tallies_away rename to tallies`;
    expect(findings.find(({ check }) => check === "imports.tallies")).toMatchObject({
      state: "warning",
      detail: expect.stringContaining("the look itself failed"),
    });
    expect(findings.filter(({ detail }) => detail.startsWith("the look itself"))).toHaveLength(1);
    // Held by somebody's DDL: the look gives up instead of waiting.
    const locked = openStore(database.url);
    const done = new AbortController();
    const ddl = locked.sql.begin(async (tx) => {
      await tx`lock table onedata.tallies in access exclusive mode`;
      await new Promise<void>((settle) => done.signal.addEventListener("abort", () => settle()));
    });
    try {
      await expect.poll(() => find("imports.tallies"), LOOKS).toMatchObject({ detail: "the look itself took longer than 2s" });
    } finally {
      done.abort();
      await ddl;
      await locked[Symbol.asyncDispose]();
    }
  });
});

describe("a pass", () => {
  it("is made by one of many processes, tells what became worse once, and keeps since when", async () => {
    await clear();
    await store.sql`delete from onedata.detectors where name = 'reconcile'`;
    await store.sql`delete from onedata.engines`;
    const pass = (everyMs = 60_000) => reconcilePass(store.sql, { random: () => 0, now: Date.now, thresholds: { freeDiskBytes: 0 }, everyMs });
    const passes = await Promise.all(Array.from({ length: 5 }, () => pass()));
    const [first] = passes.filter((one) => one !== undefined);
    expect(passes.filter((one) => one !== undefined)).toHaveLength(1);
    expect(first?.worse.map(({ check }) => check)).toContain("engines.alive");
    const before = (await readFindings(store.sql)).find(({ check }) => check === "engines.alive");
    expect((await pass(0))?.worse.map(({ check }) => check)).not.toContain("engines.alive");
    const after = (await readFindings(store.sql)).find(({ check }) => check === "engines.alive");
    expect(after).toMatchObject({ state: "warning", since: before?.since });
    expect(after?.seenAt.getTime()).toBeGreaterThan(before?.seenAt.getTime() ?? 0);
    expect(worstFirst(await readFindings(store.sql))[0]?.state).toBe("warning");
  });
});
