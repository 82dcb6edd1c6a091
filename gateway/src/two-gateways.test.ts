/** What several gateways on one database owe each other, and what nobody else's transaction may cost them. */
import { toTenantId } from "@onedata/core";
import { connect } from "@onedata/store";
import { revokeClient } from "@onedata/store/control";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makePipeline, openWorld, postEvent, type TestClient, type TestGateway, type TestWorld, waitFor } from "./testing/world.ts";

/** Of the connections that capture. */
const LOCK_TIMEOUT_MS = 300;

describe("two gateways", () => {
  let world: TestWorld;
  let gateways: readonly TestGateway[];
  beforeAll(async () => {
    world = await openWorld();
    gateways = [world.first, await world.openGateway()];
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const statuses = (client: TestClient, pipeline: string): Promise<number[]> =>
    Promise.all(gateways.map(async ({ url }) => (await postEvent(url, client, pipeline, "1")).status));

  it("both refuse a client that was revoked, by control or by hand in the database", async () => {
    const [fired, gone] = [await world.signIn(), await world.signIn()];
    const pipelines = [(await makePipeline(world, fired)).name, (await makePipeline(world, gone)).name] as const;
    expect([await statuses(fired, pipelines[0]), await statuses(gone, pipelines[1])]).toEqual([
      [202, 202],
      [202, 202],
    ]);
    const out = (client: TestClient, pipeline: string) =>
      waitFor(
        () => statuses(client, pipeline),
        (seen) => seen.every((status) => status === 401),
      );
    await revokeClient(world.store.sql, toTenantId(fired.tenantId), { name: "test" }, fired.clientId);
    await out(fired, pipelines[0]);
    // Of this nobody is told.
    await world.store.sql`update onedata.principals set revoked_at = now() where subject = ${gone.clientId}`;
    await out(gone, pipelines[1]);
  });

  it("answer one idempotency key posted 200 times in parallel with one id, while the other half of the requests has none", async () => {
    const client = await world.signIn();
    const { name, pipelineId } = await makePipeline(world, client);
    const answers = await Promise.all(
      Array.from({ length: 300 }, async (_, i) => {
        const keyed = i % 3 !== 0;
        const answer = await postEvent(
          gateways[i % 2]?.url ?? "",
          client,
          name,
          keyed ? '{"paid":1}' : String(i),
          keyed ? { "idempotency-key": "pay-1" } : {},
        );
        return { keyed, status: answer.status, id: ((await answer.json()) as { id: string }).id };
      }),
    );
    expect(answers.map(({ status }) => status).filter((status) => status !== 202)).toEqual([]);
    expect(new Set(answers.filter(({ keyed }) => keyed).map(({ id }) => id)).size).toBe(1);
    const [row] = await world.store.sql<{ n: number }[]>`
      select count(*)::int as n from onedata.batches b join onedata.events e on e.batch_id = b.id where b.pipeline_id = ${pipelineId}`;
    expect(row?.n).toBe(101);
  });

  it("are not slowed by an application whose transaction stays open after its capture", async () => {
    const client = await world.signIn();
    const { name, tenantId } = await makePipeline(world, client);
    /** Of 20 posts. */
    const fastestMs = async (headersOf: (i: number) => Record<string, string>): Promise<number> => {
      let fastest = Number.POSITIVE_INFINITY;
      for (let i = 0; i < 20; i++) {
        const from = performance.now();
        expect((await postEvent(gateways[i % 2]?.url ?? "", client, name, String(i), headersOf(i))).status).toBe(202);
        fastest = Math.min(fastest, performance.now() - from);
      }
      return fastest;
    };
    await world.store
      .sql`insert into onedata.principals (tenant_id, kind, subject, scopes) values (${tenantId}, 'database', current_user, '{events:write}')`;
    const application = connect(world.database.url, { max: 1, applicationName: "application" });
    try {
      await application.begin(async (transaction) => {
        await transaction`select onedata.capture(${name}, '{"late":1}', idempotency_key => 'held')`;
        // Whoever waits for its locks waits this long, each time.
        expect(await fastestMs(() => ({}))).toBeLessThan(LOCK_TIMEOUT_MS);
        expect(await fastestMs((i) => ({ "idempotency-key": `k-${i}` }))).toBeLessThan(LOCK_TIMEOUT_MS);
        // Only who uses the very key that it holds is told to come again.
        const held = await postEvent(world.first.url, client, name, '{"late":1}', { "idempotency-key": "held" });
        expect([held.status, held.headers.get("retry-after"), ((await held.json()) as { code: string }).code]).toEqual([
          409,
          "1",
          "capture.idempotency_busy",
        ]);
      });
      const after = await postEvent(world.first.url, client, name, '{"late":1}', { "idempotency-key": "held" });
      expect([after.status, await after.json()]).toMatchObject([202, { duplicate: true }]);
    } finally {
      await application.end({ timeout: 2 });
    }
  });
});
