/** Retention, usage and erasure through the rpc seam. */
import { captureGroup } from "@onedata/store";
import { getPipeline } from "@onedata/store/control";
import { createTestTenant } from "@onedata/store/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { asUser, type ControlWorld, openControlWorld } from "../control-world.ts";

describe("what a tenant keeps", () => {
  let world: ControlWorld;
  beforeAll(async () => {
    world = await openControlWorld();
  });
  afterAll(() => world[Symbol.asyncDispose]());

  it("is its own choice under the operator's maximum", async () => {
    expect((await world.tenants.getTenant({}, world.ana)).retention).toEqual({
      eventsDays: 0,
      deadLettersDays: 0,
      maxEventsDays: 7,
      maxDeadLettersDays: 30,
    });
    expect(await world.tenants.setRetention({ retention: { eventsDays: 3, deadLettersDays: 14 } }, world.ana)).toMatchObject({
      name: "first",
      retention: { eventsDays: 3, deadLettersDays: 14, maxEventsDays: 7 },
    });
    await expect(world.tenants.setRetention({ retention: { eventsDays: 8 } }, world.ana)).rejects.toMatchObject({
      code: "request.invalid",
      violations: [{ pointer: "/retention/eventsDays", code: "lte" }],
    });
    expect((await world.tenants.getTenant({}, world.bo)).retention).toMatchObject({ eventsDays: 0 });
    expect((await world.tenants.listAudit({}, world.ana)).entries[0]).toMatchObject({ action: "SetRetention", subject: "tenant/retention" });
    expect((await world.tenants.setRetention({ retention: {} }, world.ana)).retention).toMatchObject({ eventsDays: 0 });
  });

  it("is counted by day; the whole database only for operators", async () => {
    await world.pipelines.applyPipeline({ pipeline: "used", document: "name: used\n", mediaType: "application/yaml" }, world.ana);
    const { tenantId } = world.ana.identity;
    const { id } = await getPipeline(world.store.sql, tenantId, "used");
    const target = { tenantId, pipelineId: id, version: 1, laneClass: "live" as const, ordered: false };
    await captureGroup(world.store, [{ target, events: [{ payload: "12345" }, { payload: "1" }] }]);
    await world.store.sql`
      insert into onedata.outputs (batch_id, attempt, sink, pipeline_id, ordinals, payloads, bytes) values (onedata.next_id(), 1, 0, ${id}, '{0}', '12345678', 8)`;
    const usage = await world.tenants.getUsage({}, world.ana);
    expect(usage).toMatchObject({
      events: 2,
      eventBytes: 6,
      outputBytes: 8,
      backlogEvents: 2,
      backlogBytes: 6,
      openDeadLetters: 0,
      databaseBytes: 0,
      diskFreeBytes: 0,
    });
    expect(usage.days).toEqual([{ day: new Date().toISOString().slice(0, 10), events: 2, bytes: 6 }]);
    expect(usage.oldestAt?.getTime()).toBeGreaterThan(Date.now() - 600_000);
    expect(await world.tenants.getUsage({}, world.bo)).toMatchObject({ events: 0, days: [] });
    const operator = asUser(tenantId, "op", ["admin"]);
    expect((await world.tenants.getUsage({}, operator)).databaseBytes).toBeGreaterThan(1_000_000);
  });

  it("goes when an operator erases it, with its name given twice", async () => {
    const doomed = asUser(await createTestTenant(world.store.sql, "doomed"), "dora");
    await world.pipelines.applyPipeline({ pipeline: "orders", document: "name: orders\n", mediaType: "application/yaml" }, doomed);
    const operator = asUser(world.bo.identity.tenantId, "op", ["admin"]);
    await expect(world.tenants.eraseTenant({ tenant: "doomed", confirm: "dommed" }, operator)).rejects.toMatchObject({ code: "request.invalid" });
    await expect(world.tenants.eraseTenant({ tenant: "doomed", confirm: "doomed" }, world.ana)).rejects.toMatchObject({ code: "auth.scope_missing" });
    expect(await world.tenants.eraseTenant({ tenant: "doomed", confirm: "doomed" }, operator)).toMatchObject({ state: "erasing" });
    await expect(
      world.pipelines.applyPipeline({ pipeline: "orders", document: "name: orders\n", mediaType: "application/yaml" }, doomed),
    ).rejects.toMatchObject({ code: "pipeline.conflict" });
    expect(await world.tenants.eraseTenant({ tenant: "doomed", confirm: "doomed" }, operator)).toMatchObject({
      state: "erasing",
      waitingFor: expect.stringContaining("under way"),
    });
  });
});
