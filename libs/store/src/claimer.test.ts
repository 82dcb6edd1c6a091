/** What claims look at while an application's old snapshot keeps dead queue rows alive: counted in buffers and rows, not in time. */
import { randomUUID } from "node:crypto";
import { toPipelineId, toTenantId } from "@onedata/core";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { captureGroup } from "./capture.ts";
import type { ClaimedRun } from "./claim.ts";
import { createClaimer } from "./claimer.ts";
import { completeRun } from "./complete.ts";
import { connect, openStore, type Sql, type Store } from "./connection.ts";
import { registerEngine } from "./lease.ts";
import { createTestPipeline, createTestTenant, openTestDatabase, type TestDatabase } from "./testing.ts";

const LANES = 40;
const DEAD_BATCHES_PER_LANE = 250;
const engine = randomUUID();
let database: TestDatabase;
let store: Store;
let lanes: readonly bigint[];
let snapshot: Sql;

beforeAll(async () => {
  database = await openTestDatabase();
  await using store = openStore(database.url);
  await registerEngine(store, { incarnation: engine, slots: 2, leaseMs: 3_600_000 });
  // Vacuum finds nothing to take away, but new statistics make new plans, and making one reads buffers too.
  await store.sql`alter table onedata.queue set (autovacuum_enabled = false)`;
  const tenantId = await createTestTenant(store.sql);
  for (let i = 0; i < LANES; i++) await createTestPipeline(store.sql, { tenantId });
  lanes = (await store.sql<{ id: bigint }[]>`select id from onedata.lanes where class = 'live' order by id`).map(({ id }) => id);
});
afterAll(() => database[Symbol.asyncDispose]());
beforeEach(async () => {
  store = openStore(database.url);
  await store.sql`truncate onedata.queue, onedata.batches`;
  snapshot = connect(database.url, { max: 1, applicationName: "old-snapshot" });
  await snapshot.unsafe("begin isolation level repeatable read");
  await snapshot`select count(*) from onedata.queue`;
  return async () => {
    await snapshot.end({ timeout: 5 });
    await store[Symbol.asyncDispose]();
  };
});

/** Two events each; lane by lane within a round, so that the rows of a lane lie on many pages. */
const fill = (sql: Sql, to: readonly bigint[], rounds: number): Promise<unknown> => sql`
  insert into onedata.queue (batch_id, seq, lane_id, n, bytes)
  select onedata.next_id(), nextval('onedata.batch_seq'), l.id, 2, 400 from generate_series(1, ${rounds}) g, unnest(${`{${to.join(",")}}`}::bigint[]) l(id) order by g, l.id`;

const finish = (run: ClaimedRun): Promise<unknown> =>
  completeRun(store, {
    runId: run.runId,
    engine,
    wokenBy: "test",
    durationMs: 1,
    batches: run.batches.map((batch) => ({
      ...batch,
      verdicts: new Uint8Array(batch.n).fill(1),
      counts: { delivered: batch.n, filtered: 0, dead: 0 },
    })),
  });

/** Captured and worked off since the snapshot was taken: the rows are dead and stay. */
async function leaveDeadRows(): Promise<void> {
  await fill(store.sql, lanes, DEAD_BATCHES_PER_LANE);
  await store.sql`delete from onedata.queue`;
}

/** Of the queue and its index, by the connection that claims; exact within a transaction, since the server takes a backend's statistics between two. */
async function readBuffers(): Promise<number> {
  const [row] = await store.claim<{ buffers: bigint }[]>`
    select pg_stat_get_xact_blocks_fetched('onedata.queue'::regclass) + pg_stat_get_xact_blocks_fetched('onedata.queue_waiting'::regclass) as buffers`;
  return Number(row?.buffers ?? 0);
}

/** A claimer with a clock of its own, which has looked once; each claim completes what it got. */
async function openMeasured() {
  let nowMs = 0;
  const claimer = createClaimer(store, { monotonicMs: () => nowMs });
  await claimer.claim({ runId: randomUUID(), owner: engine, deadlineMs: 60_000 });
  return {
    pass: (ms: number) => (nowMs += ms),
    claim: async (): Promise<{ events: number; buffers: number }> => {
      await store.claim.unsafe("begin");
      const before = await readBuffers();
      const run = await claimer.claim({ runId: randomUUID(), owner: engine, deadlineMs: 60_000 });
      const buffers = (await readBuffers()) - before;
      await store.claim.unsafe("commit");
      if (run !== undefined) await finish(run);
      return { events: run?.events ?? 0, buffers };
    },
  };
}

it("walks over dead rows once in a while, and otherwise looks at little more than what it takes", async () => {
  const { claim, pass } = await openMeasured();
  const known = lanes.slice(0, 5);
  await leaveDeadRows();
  await fill(store.sql, known, 1);
  const everything = await claim();
  expect(everything.events).toBe(10);
  expect(everything.buffers).toBeGreaterThan(2_000);

  let buffers = 0;
  for (let i = 0; i < 50; i++) {
    await fill(store.sql, known, 1);
    const claimed = await claim();
    expect(claimed.events).toBe(10);
    buffers += claimed.buffers;
  }
  // Each takes five batches of five lanes: some ten buffers a batch, whatever lies behind.
  expect(buffers / 50).toBeLessThan(200);

  pass(60_000);
  expect((await claim()).buffers).toBeGreaterThan(2_000);
  // A moment later nothing is known to have work, and nothing is looked at.
  expect((await claim()).buffers).toBe(0);
});

it("finds late commits, new lanes and everything else by the next look at everything", async () => {
  const { claim, pass } = await openMeasured();
  const late = connect(database.url, { max: 1, applicationName: "late" });
  try {
    await late.unsafe("begin");
    // Its seq is drawn now, its commit comes long after later ones were claimed.
    await fill(late, lanes.slice(0, 1), 1);
    await leaveDeadRows();
    await fill(store.sql, lanes.slice(0, 20), 1);
    expect((await claim()).events).toBe(40);
    await late.unsafe("commit");
    await fill(store.sql, lanes, 1);
    expect((await claim()).events).toBe(40);
    expect((await claim()).events).toBe(0);
    // A second for 20,000 dead rows, and these are some ten thousand.
    pass(1_000);
    expect((await claim()).events).toBe(42);
  } finally {
    await late.end({ timeout: 5 });
  }
});

it("finds at once what was captured a moment ago, in any lane, also when commits come out of order", async () => {
  const { claim, pass } = await openMeasured();
  const [pipeline] = await store.sql<{ id: bigint; tenant_id: bigint }[]>`select id, tenant_id from onedata.pipelines order by id desc limit 1`;
  const target = {
    tenantId: toTenantId(pipeline?.tenant_id ?? 0n),
    pipelineId: toPipelineId(pipeline?.id ?? 0n),
    version: 1,
    laneClass: "live" as const,
    ordered: false,
  };
  const capture = (on: Store) => captureGroup(on, [{ target, events: [{ payload: "1" }] }]);
  // Enough for the longest rest, so that a moment may be seconds here.
  for (let i = 0; i < 10; i++) await leaveDeadRows();
  await fill(store.sql, lanes.slice(0, 1), 1);
  expect((await claim()).events).toBe(2);
  await capture(store);
  pass(2_000);
  const [{ seq } = { seq: 0n }] = await store.sql<{ seq: bigint }[]>`select seq from onedata.queue`;
  const first = await claim();
  expect(first).toMatchObject({ events: 1 });
  // A batch whose `seq` was drawn before that of the one that is taken already.
  await capture(store);
  await store.sql`update onedata.queue set seq = ${seq - 1n}`;
  await store.sql`update onedata.batches set seq = ${seq - 1n} where id = (select batch_id from onedata.queue)`;
  pass(2_000);
  const second = await claim();
  expect(second).toMatchObject({ events: 1 });
  expect(Math.max(first.buffers, second.buffers)).toBeLessThan(200);
});

it("forgets lanes that it has not taken from for a while, since others may leave dead rows in them", async () => {
  const { claim, pass } = await openMeasured();
  const [own = 0n] = lanes;
  await leaveDeadRows();
  await fill(store.sql, [own], 1);
  await claim();
  // Somebody else works in the same lanes.
  for (let i = 0; i < 3; i++) await leaveDeadRows();
  await claim(); // the known lane, with what died in it meanwhile
  pass(1_000);
  expect((await claim()).buffers).toBeGreaterThan(2_000);
  pass(6_000);
  expect((await claim()).buffers).toBeGreaterThan(2_000);
  expect((await claim()).buffers).toBe(0);
});

it("looks at everything each time where few rows are dead", async () => {
  const { claim } = await openMeasured();
  await fill(store.sql, lanes.slice(0, 5), 1);
  expect((await claim()).events).toBe(10);
  await fill(store.sql, lanes.slice(5, 10), 1);
  expect((await claim()).events).toBe(10);
});

it("looks up ordered lanes in as many buffers after a hundred claims as after the first ones", { timeout: 180_000 }, async () => {
  // One connection of each kind, so that what it has counted in a transaction is what the statement looked at.
  await using own = openStore(database.url, { captureConnections: 1, completionConnections: 1 });
  const { tenantId, pipelineId } = await createTestPipeline(own.sql, { ordering: "k" });
  const target = { tenantId, pipelineId, version: 1, laneClass: "live" as const, ordered: true };
  const claimer = createClaimer(own);
  const count = async (sql: Sql): Promise<number> => {
    const [row] = await sql<{ buffers: number }[]>`
      select sum(pg_stat_get_xact_blocks_fetched(oid))::int as buffers from pg_class where relnamespace = 'onedata'::regnamespace and starts_with(relname, 'lane')`;
    return row?.buffers ?? 0;
  };
  const counted = async (sql: Sql, work: () => Promise<unknown>): Promise<number> => {
    await sql.unsafe("begin");
    const before = await count(sql);
    await work();
    const buffers = (await count(sql)) - before;
    await sql.unsafe("commit");
    return buffers;
  };
  const connection = await own.capture.use(async ({ sql }) => sql);
  const round = async (): Promise<{ capture: number; claim: number; completion: number }> => {
    const events = Array.from({ length: 32 }, (_, i) => ({ payload: "1", orderingKey: `key-${i}` }));
    const capture = await counted(connection, () => captureGroup(own, [{ target, events }]));
    let run: ClaimedRun | undefined;
    const claim = await counted(own.claim, async () => {
      run = await claimer.claim({ runId: randomUUID(), owner: engine, deadlineMs: 60_000 });
    });
    if (run === undefined) throw new Error("nothing was claimed");
    const { runId, batches } = run;
    expect(batches.reduce((sum, { n }) => sum + n, 0)).toBe(32);
    const completion = await counted(own.completion, () =>
      completeRun(own, {
        runId,
        engine,
        wokenBy: "test",
        durationMs: 1,
        batches: batches.map((batch) => ({
          ...batch,
          orderedLaneId: batch.laneId,
          verdicts: new Uint8Array(batch.n).fill(1),
          counts: { delivered: batch.n, filtered: 0, dead: 0 },
        })),
      }),
    );
    return { capture, claim, completion };
  };
  const rounds = async (times: number): Promise<{ capture: number; claim: number; completion: number }> => {
    const sum = { capture: 0, claim: 0, completion: 0 };
    for (let i = 0; i < times; i++) {
      const { capture, claim, completion } = await round();
      sum.capture += capture;
      sum.claim += claim;
      sum.completion += completion;
    }
    return sum;
  };
  // Each lane's versions of sixteen claims are found together.
  const first = await rounds(16);
  await rounds(96);
  const last = await rounds(16);
  expect(last.capture).toBeLessThan(1.5 * first.capture);
  expect(last.claim).toBeLessThan(1.5 * first.claim);
  expect(last.completion).toBeLessThan(1.5 * first.completion);
});
