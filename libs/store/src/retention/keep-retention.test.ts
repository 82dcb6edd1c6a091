import { randomUUID } from "node:crypto";
import { type BatchId, type PipelineId, type TenantId } from "@onedata/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { captureGroup } from "../capture.ts";
import { connect, openStore, type Store } from "../connection.ts";
import { createTestPipeline, openTestDatabase, type TestDatabase } from "../testing.ts";
import { keepRetention } from "./keep-retention.ts";
import { readLedgerFloor } from "./ledger-floor.ts";
import { retentionProblems } from "./problems.ts";
import { ageBatch } from "./testing.ts";

let database: TestDatabase;
let store: Store;
beforeEach(async () => {
  database = await openTestDatabase();
  store = openStore(database.url);
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  await database[Symbol.asyncDispose]();
});

type Owner = { readonly tenantId: TenantId; readonly pipelineId: PipelineId };
const MAX = { eventsDays: 7, deadLettersDays: 30 };
const keep = (pauseMs = 0) => keepRetention(store, { max: MAX, now: new Date(), pauseMs });

async function capture(owner: Owner, payloads: readonly string[]): Promise<BatchId> {
  const target = { tenantId: owner.tenantId, pipelineId: owner.pipelineId, version: 1, laneClass: "live" as const, ordered: false };
  const [[captured] = []] = await captureGroup(store, [{ target, events: payloads.map((payload) => ({ payload })) }]);
  if (captured?.kind !== "captured") throw new Error("not captured");
  return captured.batchId;
}

const finish = (id: BatchId) => store.sql`
  with gone as (delete from onedata.queue where batch_id = ${id})
  insert into onedata.runs (batch_id, attempt, run_id, started_at, outcome, verdicts) values (${id}, 1, ${randomUUID()}, now(), 'final', '\\x01')`;

async function addLetter(owner: Owner, days: number, state = "open"): Promise<bigint> {
  const [row] = await store.sql<{ id: bigint }[]>`
    with at as (select onedata.next_id() - ((${days}::bigint * 86400000) << 20) as id),
    month as (select date_trunc('month', onedata.time_of(id) at time zone 'UTC') as m from at),
    made as (select onedata.make_partition('dead_letters', to_char(m, 'YYYYMM'), 'id', onedata.id_at(m at time zone 'UTC'), onedata.id_at((m + interval '1 month') at time zone 'UTC')) from month)
    select at.id from at, made`;
  await store.sql`
    insert into onedata.dead_letters (id, tenant_id, pipeline_id, batch_id, n, code, fingerprint, message, payload, state)
    values (${row?.id ?? 0n}, ${owner.tenantId}, ${owner.pipelineId}, ${row?.id ?? 0n}, 0, 'x', 'f', 'm', '{}', ${state})`;
  return row?.id ?? 0n;
}

describe("retention", () => {
  it("deletes what a tenant keeps shorter, inside days that others keep; also of pipelines that are deleted", async () => {
    const brief = await createTestPipeline(store.sql);
    const long = await createTestPipeline(store.sql);
    await store.sql`update onedata.tenants set retention = '{"eventsDays": 2}' where id = ${brief.tenantId}`;
    const [done, waiting, young, others] = [
      await capture(brief, ["1"]),
      await capture(brief, ["2"]),
      await capture(brief, ["3"]),
      await capture(long, ["4"]),
    ];
    for (const id of [done, young, others]) await finish(id);
    const aged = {
      done: await ageBatch(store.sql, done, 4),
      waiting: await ageBatch(store.sql, waiting, 4),
      others: await ageBatch(store.sql, others, 4),
    };
    const ofDeleted = await createTestPipeline(store.sql, { tenantId: brief.tenantId });
    const deleted = await capture(ofDeleted, ["5"]);
    await finish(deleted);
    await ageBatch(store.sql, deleted, 4);
    await store.sql`delete from onedata.lanes where pipeline_id = ${ofDeleted.pipelineId}`;
    await store.sql`delete from onedata.pipelines where id = ${ofDeleted.pipelineId}`;

    expect(await keep()).toMatchObject({ batches: 2, days: { state: "nothing" } });
    const left = await store.sql<{ batch_id: bigint }[]>`select batch_id from onedata.events order by batch_id`;
    expect(new Set(left.map(({ batch_id }) => batch_id))).toEqual(new Set([aged.waiting, young, aged.others]));
    expect(await store.sql`select 1 from onedata.runs where batch_id = ${aged.done}`).toHaveLength(0);
  });

  it("drops days when every tenant keeps less than the operator's maximum", async () => {
    const owner = await createTestPipeline(store.sql);
    await store.sql`update onedata.tenants set retention = '{"eventsDays": 2}'`;
    const id = await capture(owner, ["1"]);
    await finish(id);
    await ageBatch(store.sql, id, 4);
    const round = await keep();
    expect(round.days).toMatchObject({ state: "done", held: { events: 0 } });
    expect(round.days.tables).toHaveLength(5);
    expect(await store.sql`select 1 from onedata.events`).toHaveLength(0);
  });

  it("lets dead letters go to the day and drops their months, but for what a job replays", async () => {
    const owner = await createTestPipeline(store.sql);
    const brief = await createTestPipeline(store.sql);
    await store.sql`update onedata.tenants set retention = '{"deadLettersDays": 5}' where id = ${brief.tenantId}`;
    const kept = [await addLetter(owner, 29), await addLetter(brief, 4)];
    await addLetter(owner, 31);
    await addLetter(brief, 6);
    await addLetter(owner, 100);
    const replaying = await addLetter(owner, 200, "replaying");
    const round = await keep();
    expect(round.months.length).toBeGreaterThan(0);
    expect(await store.sql<{ id: bigint }[]>`select id from onedata.dead_letters order by id`.then((rows) => rows.map(({ id }) => id))).toEqual(
      [replaying, ...kept].sort((a, b) => (a < b ? -1 : 1)),
    );
    await store.sql`update onedata.dead_letters set state = 'replayed' where id = ${replaying}`;
    expect((await keep()).months).toHaveLength(1);
  });

  it("forgets figures, rejected lines and imports of long ago", async () => {
    const owner = await createTestPipeline(store.sql);
    await store.sql`insert into onedata.pipeline_stats (pipeline_id, minute, captured) values (${owner.pipelineId}, now() - interval '31 days', 1), (${owner.pipelineId}, now(), 1)`;
    const [old] = await store.sql<{ id: bigint }[]>`
      insert into onedata.imports (tenant_id, pipeline_id, media_type, state, updated_at) values (${owner.tenantId}, ${owner.pipelineId}, 'text/csv', 'received', now() - interval '8 days') returning id`;
    await store.sql`insert into onedata.import_rejects (import_id, line, code, message, raw) values (${old?.id ?? 0n}, 1, 'x', 'm', 'secret')`;
    expect((await keep()).leftovers).toBe(2);
    expect(await store.sql`select 1 from onedata.imports`).toHaveLength(1);
    await store.sql`update onedata.imports set updated_at = now() - interval '31 days'`;
    expect((await keep()).leftovers).toBe(1);
  });

  it("says which days could not go, and who is in the way", async () => {
    const owner = await createTestPipeline(store.sql);
    expect(await retentionProblems(store.sql, { max: MAX, now: new Date() })).toEqual([]);
    const paused = await ageBatch(store.sql, await capture(owner, ["1"]), 12);
    const application = connect(database.url, { max: 1, applicationName: "billing" });
    try {
      await application.unsafe("begin");
      await application`select 1 from onedata.events where batch_id = ${paused}`;
      await expect
        .poll(
          () => application`select 1 from pg_stat_activity where pid = pg_backend_pid() and xact_start < clock_timestamp() - interval '1.1 seconds'`,
          { timeout: 20_000 },
        )
        .toHaveLength(1);
      // Rows are needed and a transaction is old: nothing is put out of sight.
      expect((await keep()).days.state).toBe("waiting");
      expect(await store.sql`select 1 from onedata.events where batch_id = ${paused}`).toHaveLength(1);
      expect(await retentionProblems(store.sql, { max: MAX, now: new Date() })).toMatchObject([
        { detail: expect.stringContaining("1 day of events") },
      ]);
      expect(await retentionProblems(store.sql, { max: { ...MAX, eventsDays: 30 }, now: new Date() })).toEqual([]);
    } finally {
      await application.end({ timeout: 1 });
    }
    expect((await keep()).days.state).toBe("done");
    expect(await retentionProblems(store.sql, { max: MAX, now: new Date() })).toEqual([]);
  });
});

describe("the ledgers of sinks", () => {
  it("may forget batches that are dropped, and not those that are held, nor anything while rows are moving", async () => {
    const owner = await createTestPipeline(store.sql);
    const done = await capture(owner, ["1"]);
    await finish(done);
    await ageBatch(store.sql, done, 12);
    const waiting = await ageBatch(store.sql, await capture(owner, ["2"]), 12);
    expect(await readLedgerFloor(store.sql)).toMatchObject({ keep: [] });
    await keep();
    const floor = await readLedgerFloor(store.sql);
    expect(floor?.keep).toEqual([waiting]);
    expect(floor?.below).toBeGreaterThan(waiting);
    await store.sql`insert into onedata.retention_work (kind, upper, cutoff, victims) values ('events', 0, now(), '{}')`;
    expect(await readLedgerFloor(store.sql)).toBeUndefined();
  });
});
