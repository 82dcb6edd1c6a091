/**
 * The hot statements of the release before, frozen as text, work on the schema after all migrations: while the processes of two releases run side by side, the
 * older ones go on capturing, claiming and completing, and the newer ones' work goes through their hands.
 *
 * `statements-of-release-N.golden.json` is made when release N is published, from the statements of its hot path; the one before it goes.
 */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { captureGroup } from "./capture.ts";
import { claimRun } from "./claim.ts";
import { openStore, type Store } from "./connection.ts";
import { loadEvents } from "./events.ts";
import { freeStrandedLanes, giveLanesBack, takeOverLanes } from "./lane-runs.ts";
import { reclaim, registerEngine } from "./lease.ts";
import { releaseRun } from "./release.ts";
import { createTestPipeline, openTestDatabase, type TestDatabase } from "./testing.ts";

const STATEMENTS: Readonly<Record<string, string>> = JSON.parse(
  readFileSync(new URL("./statements-of-release-1.golden.json", import.meta.url), "utf8"),
);
const HASH = "00".repeat(32);

let database: TestDatabase;
let store: Store;
let pipeline: Awaited<ReturnType<typeof createTestPipeline>>;
const engine = randomUUID();

beforeAll(async () => {
  database = await openTestDatabase();
  store = openStore(database.url);
  pipeline = await createTestPipeline(store.sql);
  await registerEngine(store, { incarnation: engine, slots: 1, leaseMs: 60_000 });
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

type Row = Record<string, string | number | null>;
const run = (name: string, parameters: readonly (string | null)[]): Promise<readonly Row[]> =>
  store.completion.unsafe<Row[]>(STATEMENTS[name] ?? "", [...parameters], { prepare: true });

const capture = (payload: string): (string | null)[] => [
  `{${pipeline.pipelineId}}`,
  `{${pipeline.tenantId}}`,
  "{1}",
  "{live}",
  "{0}",
  `{${payload.length}}`,
  "{1}",
  payload,
  null,
  null,
  randomUUID(),
  "{null}",
];
const claim = (runId: string): (string | null)[] => [
  null,
  "{}",
  runId,
  engine,
  "500",
  "1000000",
  "0",
  "0",
  "200",
  "60000",
  null,
  "{}",
  "{}",
  "50",
  "1",
  null,
  null,
];
const complete = (runId: string, batchId: string): (string | null)[] => {
  const letter = {
    tenant_id: String(pipeline.tenantId),
    pipeline_id: String(pipeline.pipelineId),
    batch_id: batchId,
    n: 0,
    generation: 0,
    version: 1,
    step: "s",
  };
  const letters = JSON.stringify([{ ...letter, code: "record.invalid", fingerprint: "f", message: "m", payload: "1" }]);
  const outputs = [`{${batchId}}`, "{1}", "{0}", `{${pipeline.pipelineId}}`, "{1}", "{0}", "1"];
  return [
    runId,
    engine,
    "poll",
    "5",
    null,
    null,
    `{${batchId}}`,
    "{0}",
    "{0}",
    "{1}",
    "{0}",
    "{0}",
    "{0}",
    "{final}",
    "02",
    "",
    "{}",
    letters,
    ...outputs,
  ];
};
const batchOf = (rows: readonly Row[]): string => String(rows[0]?.["batches"]).split(",")[0] ?? "";

it.each(Object.keys(STATEMENTS))("%s can be prepared", async (name) => {
  expect((await store.sql.unsafe(STATEMENTS[name] ?? "").describe()).columns.length).toBeGreaterThan(0);
});

it("captures, claims, loads and completes", async () => {
  const [captured] = await run("CAPTURE", capture("1"));
  const [routes] = [await run("WAITING_ROUTES", ["2000", "10"])];
  expect(routes).toMatchObject([{ route: "record", lanes: 1, events: 1, suspects: 0 }]);
  const runId = randomUUID();
  const batchId = batchOf(await run("CLAIM", claim(runId)));
  expect(batchId).toBe(captured?.["ids"]);
  expect(await run("CAPTURED", [`{${batchId}}`])).toMatchObject([{ payloads: "1" }]);
  expect(await run("COMPLETE", complete(runId, batchId))).toEqual([{ ids: batchId }]);
  expect((await store.sql`select from onedata.queue`).length).toBe(0);
  expect(await store.sql`select code, state from onedata.dead_letters`).toEqual([{ code: "record.invalid", state: "open" }]);
});

it("captures once per idempotency key, beside the newer statement", async () => {
  const target = { tenantId: pipeline.tenantId, pipelineId: pipeline.pipelineId, version: 1, laneClass: "live" as const, ordered: false };
  const [keyed] = await run("CAPTURE_KEYED", [...capture("2"), HASH, HASH]);
  expect(keyed?.["kept"]).toBe(`${keyed?.["ids"]}:0`);
  expect((await run("CAPTURE_KEYED", [...capture("2"), HASH, HASH]))[0]?.["kept"]).toBeNull();
  const [[outcome] = []] = await captureGroup(store, [{ target, events: [{ payload: "3", idempotencyKey: "k" }] }]);
  expect(outcome).toMatchObject({ kind: "captured", duplicate: false });
});

it("works on what the newer one captured and claimed, and the newer one on what it gave back", async () => {
  const older = randomUUID();
  const first = batchOf(await run("CLAIM", claim(older)));
  expect(await run("RELEASE", [older, null, "0", "0", "{}"])).toEqual([{ released: expect.toSatisfy((count) => Number(count) > 0) }]);
  const newer = randomUUID();
  const { run: claimed } = await claimRun(store, { runId: newer, owner: engine, deadlineMs: 60_000 });
  expect(claimed?.batches.map(({ batchId }) => String(batchId))).toContain(first);
  expect((await loadEvents(store, claimed?.batches ?? [])).size).toBe(claimed?.batches.length);
  expect(await run("RECLAIM", [])).toEqual([]);
  const ids = (claimed?.batches ?? []).map(({ batchId }) => String(batchId));
  for (const id of ids) expect(await run("COMPLETE", complete(newer, id))).toEqual([{ ids: id }]);
  expect((await store.sql`select from onedata.queue`).length).toBe(0);
});

describe("an ordered lane", () => {
  let ordered: Awaited<ReturnType<typeof createTestPipeline>>;
  beforeEach(async () => {
    await store.sql`delete from onedata.queue`;
    await store.sql`truncate onedata.lane_runs`;
    await store.sql`delete from onedata.lanes where ordered`;
    await store.sql`delete from onedata.engines where incarnation <> ${engine}`;
    ordered = await createTestPipeline(store.sql, { ordering: "k" });
    await captureOrdered();
  });
  const captureOrdered = () => {
    const target = { tenantId: ordered.tenantId, pipelineId: ordered.pipelineId, version: 1, laneClass: "live" as const, ordered: true };
    return captureGroup(store, [{ target, events: [{ payload: "1", orderingKey: "a" }] }]);
  };
  const older = async (): Promise<{ runId: string; batchId: string } | undefined> => {
    const runId = randomUUID();
    const rows = await run("CLAIM", claim(runId));
    return rows[0]?.["batches"] == null ? undefined : { runId, batchId: batchOf(rows) };
  };
  const newer = async (suspect = false) => (await claimRun(store, { runId: randomUUID(), owner: engine, deadlineMs: 60_000, suspect })).run;
  /** What the older upkeep does with lanes whose `run_id` no queue row has. */
  const olderUpkeep = () => store.sql`
    update onedata.lanes l set run_id = null
     where l.run_id is not null and not exists (select from onedata.queue q where q.run_id = l.run_id and q.lane_id = l.id)`;
  const laneOf = async (batchId: string): Promise<string> => {
    const [row] = await store.sql<{ lane: bigint }[]>`select lane_id as lane from onedata.queue where batch_id = ${batchId}`;
    return String(row?.lane);
  };

  it("is the newer one's, also through the older upkeep, while a run is in it; given back when free, and taken over when free", async () => {
    expect(await older()).toBeUndefined();
    const held = await newer();
    await captureOrdered();
    await olderUpkeep();
    expect(await older()).toBeUndefined();
    expect(await newer()).toBeUndefined();

    await releaseRun(store, { runId: held?.runId ?? "" });
    const [before] = await store.sql<{ sum: string }[]>`select sum(claims)::text from onedata.lane_runs`;
    await olderUpkeep();
    // A claim that looked before finds it moved.
    expect(await store.sql`select sum(claims)::text from onedata.lane_runs`).not.toEqual([before]);
    expect(await newer()).toBeUndefined();
    const first = await older();
    expect(first?.batchId).toBe(String(held?.batches[0]?.batchId));
    expect(await takeOverLanes(store)).toBe(31);
    expect(await newer()).toBeUndefined();

    await run("RELEASE", [first?.runId ?? "", null, "0", "0", "{}"]);
    const again = await older();
    expect(again?.batchId).toBe(first?.batchId);
    const parameters = complete(again?.runId ?? "", again?.batchId ?? "");
    parameters[16] = `{${await laneOf(again?.batchId ?? "")}}`;
    await run("COMPLETE", parameters);
    // The second batch is still in the older run.
    expect(await takeOverLanes(store)).toBe(0);
    await run("RELEASE", [again?.runId ?? "", null, "0", "0", "{}"]);
    expect(await takeOverLanes(store)).toBe(1);
    expect(await older()).toBeUndefined();
    expect((await newer())?.batches).toHaveLength(1);
  });

  it("is freed by the newer one when an older engine dies in it, and the other way round by the newer upkeep", async () => {
    await olderUpkeep();
    const dead = await older();
    expect(dead).toBeDefined();
    const expire = () => store.sql`update onedata.queue set run_deadline = now() - interval '1 day' where run_id is not null`;
    await expire();
    expect((await reclaim(store)).map(({ runId }) => runId)).toEqual([dead?.runId]);
    expect(await takeOverLanes(store)).toBe(32);
    const held = await newer();
    expect(held?.batches).toHaveLength(1);
    await expire();
    expect((await run("RECLAIM", [])).map(({ run_id }) => run_id)).toEqual([held?.runId]);
    // It crashed twice: it is claimed as a suspect.
    expect(await newer(true)).toBeUndefined();
    expect(await freeStrandedLanes(store.sql)).toBe(1);
    expect((await newer(true))?.batches).toHaveLength(1);
  });

  it("goes back to older engines when they alone are alive", async () => {
    await giveLanesBack(store.sql);
    expect(await older()).toBeUndefined();
    await store.sql`insert into onedata.engines (incarnation, alive_until) values (${randomUUID()}, now() + interval '1 minute')`;
    await registerEngine(store, { incarnation: engine, slots: 1, leaseMs: 60_000 });
    await giveLanesBack(store.sql);
    expect(await older()).toBeUndefined();
    await store.sql`delete from onedata.engines where incarnation = ${engine}`;
    await giveLanesBack(store.sql);
    expect(await older()).toBeDefined();
    await registerEngine(store, { incarnation: engine, slots: 1, leaseMs: 60_000 });
  });
});
