import { randomUUID } from "node:crypto";
import { type TenantId, toPipelineId } from "@onedata/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { captureGroup } from "../capture.ts";
import { claimRun } from "../claim.ts";
import { completeRun } from "../complete.ts";
import { connect, openStore, type Store } from "../connection.ts";
import { registerEngine } from "../lease.ts";
import { createTestPipeline, createTestTenant, openTestDatabase, type TestDatabase } from "../testing.ts";
import { askErasure, eraseTenants } from "./erase.ts";
import { countOf, fillEveryTable, type Ids } from "./erase-testing.ts";

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

const ACTOR = { name: "operator" };
const now = { graceSeconds: 0 };

async function createFilled(
  name: string,
): Promise<{ tenantId: TenantId; pipeline: { tenantId: TenantId; pipelineId: ReturnType<typeof toPipelineId>; name: string }; ids: Ids }> {
  const tenantId = await createTestTenant(store.sql, name);
  const pipeline = await createTestPipeline(store.sql, { tenantId });
  return { tenantId, pipeline, ids: await fillEveryTable(store.sql, { tenantId, pipelineId: pipeline.pipelineId }) };
}

describe("erasing a tenant", () => {
  it("leaves no row of it in any table, and every row of the others", async () => {
    const operator = await createTestTenant(store.sql, "operators");
    const gone = await createFilled("gone");
    const stays = await createFilled("stays");
    const filled = await countOf(store.sql, gone.ids);
    // A table that is added later is filled and looked at here without a line being changed.
    expect(filled.filter(({ rows }) => rows === 0)).toEqual([]);
    expect(filled.length).toBeGreaterThan(35);
    const before = await countOf(store.sql, stays.ids);

    expect(await askErasure(store.sql, operator, ACTOR, "gone")).toMatchObject({ state: "erasing" });
    await expect.poll(() => eraseTenants(store.sql, now), { timeout: 20_000 }).toBe(0);
    expect((await countOf(store.sql, gone.ids)).filter(({ rows }) => rows > 0)).toEqual([]);
    expect(await countOf(store.sql, stays.ids)).toEqual(before);
    expect(await store.sql`select 1 from onedata.tenants where name = 'gone'`).toHaveLength(0);
    expect(await store.sql`select action, subject from onedata.audit where tenant_id = ${operator} order by id`).toEqual([
      { action: "EraseTenant", subject: "tenants/gone" },
      { action: "EraseTenantDone", subject: "tenants/gone" },
    ]);
    const told = await askErasure(store.sql, operator, ACTOR, "gone");
    expect(told).toMatchObject({ state: "erased", waitingFor: "" });
    expect(told.erasedRows).toBeGreaterThan(25);
    await expect(askErasure(store.sql, operator, ACTOR, "nobody")).rejects.toMatchObject({ code: "tenant.not_found" });
    await expect(askErasure(store.sql, operator, ACTOR, "operators")).rejects.toMatchObject({ code: "request.invalid" });
  });

  it("stops tokens, captures and claims with the mark; a run in flight writes nothing; waits for what began before", async () => {
    const operator = await createTestTenant(store.sql, "operators");
    const { tenantId, pipelineId } = await createTestPipeline(store.sql, { tenantId: await createTestTenant(store.sql, "gone") });
    await store.sql`insert into onedata.principals (tenant_id, kind, subject, secret_hash) values (${tenantId}, 'client', 'client_1', 'hash')`;
    const target = { tenantId, pipelineId, version: 1, laneClass: "live" as const, ordered: false };
    await captureGroup(store, [{ target, events: [{ payload: "1" }] }]);
    const engine = randomUUID();
    await registerEngine(store, { incarnation: engine, slots: 1, leaseMs: 60_000 });
    const { run } = await claimRun(store, { runId: randomUUID(), owner: engine, deadlineMs: 60_000 });
    await captureGroup(store, [{ target, events: [{ payload: "2" }] }]);
    const application = connect(database.url, { max: 1, applicationName: "application" });
    try {
      await application.unsafe("begin");
      await application`select onedata.write_batch(${tenantId}, ${pipelineId}, (select min(id) from onedata.lanes where pipeline_id = ${pipelineId}), array['3'], array[null])`;

      await askErasure(store.sql, operator, ACTOR, "gone");
      expect(await store.sql`select 1 from onedata.principals where tenant_id = ${tenantId} and revoked_at is null`).toHaveLength(0);
      expect((await captureGroup(store, [{ target, events: [{ payload: "4" }] }]))[0]?.map(({ kind }) => kind)).toEqual(["refused"]);
      expect((await claimRun(store, { runId: randomUUID(), owner: engine, deadlineMs: 60_000 })).run).toBeUndefined();
      expect(await eraseTenants(store.sql, now)).toBe(1);
      const batches = (run?.batches ?? []).map((batch) => ({ ...batch, verdicts: Uint8Array.of(1), counts: { delivered: 1, filtered: 0, dead: 0 } }));
      expect((await completeRun(store, { runId: run?.runId ?? "", engine, wokenBy: "test", durationMs: 1, batches })).size).toBe(0);
      expect(await eraseTenants(store.sql, now)).toBe(1);
      expect(await askErasure(store.sql, operator, ACTOR, "gone")).toMatchObject({
        state: "erasing",
        waitingFor: expect.stringContaining("application"),
      });
      await application.unsafe("commit");
    } finally {
      await application.end({ timeout: 5 });
    }
    await expect.poll(() => eraseTenants(store.sql, now)).toBe(0);
    expect(await store.sql`select 1 from onedata.events`).toHaveLength(0);
    expect(await store.sql`select 1 from onedata.queue`).toHaveLength(0);
  });

  it("may be cut off after any statement", { timeout: 120_000 }, async () => {
    const operator = await createTestTenant(store.sql, "operators");
    const gone = await createFilled("gone");
    await askErasure(store.sql, operator, ACTOR, "gone");
    // No time for more than the first statement that is looked at; each round goes on.
    let rounds = 0;
    while ((await eraseTenants(store.sql, { ...now, budgetMs: rounds * 2 })) > 0) rounds += 1;
    expect(rounds).toBeGreaterThan(1);
    expect((await countOf(store.sql, gone.ids)).filter(({ rows }) => rows > 0)).toEqual([]);
  });
});
