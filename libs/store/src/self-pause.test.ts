import { randomUUID } from "node:crypto";
import type { PipelineId, TenantId } from "@onedata/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { captureImportChunk } from "./capture-import.ts";
import { claimRun } from "./claim.ts";
import { openStore, type Store } from "./connection.ts";
import { activateVersion, getImportProgress, resumeImport, setPipelineState } from "./control/index.ts";
import { registerEngine } from "./lease.ts";
import { addGoodEvents, type DeathReport, reportDeaths } from "./self-pause.ts";
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

type Made = { readonly tenantId: TenantId; readonly pipelineId: PipelineId; readonly name: string };
const pipeline = (options: TestPipelineOptions = {}): Promise<Made> => createTestPipeline(store.sql, options);

const report = ({ tenantId, pipelineId }: Made, given: Partial<DeathReport>): Promise<string | undefined> =>
  reportDeaths(store, tenantId, {
    pipelineId,
    version: 1,
    laneClass: "live",
    importId: undefined,
    before: 0,
    events: 0,
    dead: 0,
    deadShare: 0.2,
    minimum: 200,
    ...given,
  });
const stateOf = async ({ pipelineId }: Made) =>
  (await store.sql`select state, reason, state_changed_by as by from onedata.pipelines where id = ${pipelineId}`)[0];
const windowOf = async ({ pipelineId }: Made) =>
  (await store.sql`select events, dead from onedata.death_windows where pipeline_id = ${pipelineId}`)[0];

describe("a pipeline that pauses itself", () => {
  it("does so when more than the share of its last thousand events died, and says why", async () => {
    const made = await pipeline();
    await store.sql`
      insert into onedata.dead_letters (tenant_id, pipeline_id, batch_id, n, version, step, code, fingerprint, message)
      select ${made.tenantId}, ${made.pipelineId}, 1, n, 1, 'valid', case when n < 9 then 'record.invalid' else 'x' end, 'f', 'm' from generate_series(1, 10) n`;
    for (let i = 0; i < 10; i++) expect(await report(made, { events: 100, dead: 20 })).toBeUndefined();
    expect(await report(made, { events: 100, dead: 21 })).toBe(
      "paused itself: 201 of the last 1,000 live events of version 1 died; most: record.invalid at step valid",
    );
    expect(await stateOf(made)).toEqual({ state: "paused", by: "onedata", reason: expect.stringContaining("201 of the last 1,000") });
    const told = await store.sql`select topic, subject, detail from onedata.notifications where pipeline_id = ${made.pipelineId}`;
    expect(told).toMatchObject([{ topic: "pipeline.paused", subject: `pipelines/${made.name}`, detail: { dead: 201, events: 1000, version: 1 } }]);
    const audit = await store.sql`select principal, action from onedata.audit where subject = ${`pipelines/${made.name}`}`;
    expect(audit).toEqual([{ principal: "onedata", action: "PausePipeline" }]);
  });

  it("needs the minimum, however large the share", async () => {
    const made = await pipeline();
    expect(await report(made, { events: 199, dead: 199 })).toBeUndefined();
    expect(await report(made, { events: 1, dead: 1 })).toMatch(/200 of the last 200/);
  });

  it("lets old deaths slide out, and counts the good events before the first one", async () => {
    const made = await pipeline();
    await report(made, { before: 700, events: 300, dead: 199 });
    expect(await windowOf(made)).toEqual({ events: [700, 300], dead: [0, 199] });
    expect(await report(made, { events: 800, dead: 1 })).toBeUndefined();
    await report(made, { events: 500, dead: 100 });
    expect(await windowOf(made)).toEqual({ events: [800, 500], dead: [1, 100] });
  });

  it("counts what engines without deaths did, only where some engine saw deaths", async () => {
    const [quiet, made] = [await pipeline(), await pipeline()];
    const good = ({ pipelineId }: Made) => ({ pipelineId, version: 1, laneClass: "live" as const, importId: undefined, events: 900 });
    await report(made, { events: 150, dead: 150 });
    expect(await addGoodEvents(store, [good(quiet), good(made)])).toEqual(new Set([1]));
    expect(await windowOf(quiet)).toBeUndefined();
    expect(await report(made, { events: 50, dead: 50 })).toBeUndefined();
    expect(await windowOf(made)).toEqual({ events: [150, 900, 50], dead: [150, 0, 50] });
  });

  it("pauses nobody for a version that is not active any more", async () => {
    const made = await pipeline();
    expect(await report(made, { version: 2, events: 500, dead: 500 })).toBeUndefined();
    expect(await stateOf(made)).toMatchObject({ state: "running" });
  });

  it("counts anew after a resume and after another version was activated", async () => {
    const made = await pipeline();
    const actor = { name: "ana" };
    await report(made, { events: 300, dead: 300 });
    await setPipelineState(store.sql, made.tenantId, actor, { name: made.name, state: "running", reason: "" });
    expect(await windowOf(made)).toBeUndefined();
    await report(made, { events: 199, dead: 199 });
    await store.sql`insert into onedata.pipeline_versions (pipeline_id, version, hash, spec, plan, route) values (${made.pipelineId}, 2, 'b', '{}', '{}', 'record')`;
    await activateVersion(store.sql, made.tenantId, actor, { name: made.name, version: 2 });
    expect(await windowOf(made)).toBeUndefined();
    expect(await stateOf(made)).toMatchObject({ state: "running" });
  });
});

describe("an import that stops itself", () => {
  async function startImport(made: Made): Promise<bigint> {
    const [row] = await store.sql<
      { id: bigint }[]
    >`insert into onedata.imports (tenant_id, pipeline_id, media_type) values (${made.tenantId}, ${made.pipelineId}, 'application/x-ndjson') returning id`;
    return row?.id ?? 0n;
  }
  const chunk = (made: Made, importId: bigint, from: number, keys?: readonly string[]) =>
    captureImportChunk(store, {
      target: { tenantId: made.tenantId, pipelineId: made.pipelineId, version: 1, laneClass: "bulk", ordered: keys !== undefined, importId },
      events: Array.from({ length: 250 }, (_, i) => ({
        payload: String(from + i),
        ...(keys === undefined ? {} : { orderingKey: keys[i % keys.length] ?? "" }),
      })),
      rejects: [],
      from: { bytes: BigInt(from), lines: BigInt(from) },
      to: { bytes: BigInt(from + 250), lines: BigInt(from + 250) },
    });
  const claimed = async (route: string) =>
    (await claimRun(store, { runId: randomUUID(), owner: engine, deadlineMs: 60_000, route, maxEvents: 5000 })).run?.batches ?? [];

  it.each([
    undefined,
    ["a", "customer-42", "1"],
  ])("keeps its batches and later chunks apart, runs others on, and goes on when resumed; keys %s", async (keys) => {
    const route = `import-${String(keys?.length ?? 0)}`;
    const made = await pipeline({ route, ...(keys === undefined ? {} : { ordering: "key" }) });
    const [bad, good] = [await startImport(made), await startImport(made)];
    await chunk(made, bad, 0, keys);
    await chunk(made, good, 0, keys);
    expect(await report(made, { laneClass: "bulk", importId: bad, events: 250, dead: 250 })).toMatch(
      /^stopped itself: 250 of its last 250 events died in version 1/,
    );
    expect(await stateOf(made)).toMatchObject({ state: "running" });
    await chunk(made, bad, 250, keys);
    expect(await getImportProgress(store.sql, made.tenantId, bad)).toMatchObject({
      state: "stopped",
      accepted: 500,
      reason: expect.stringContaining("stopped itself"),
    });
    const others = await claimed(route);
    expect(new Set(others.map(({ importId }) => importId))).toEqual(new Set([good]));
    expect(others.reduce((sum, { n }) => sum + n, 0)).toBe(250);
    await store.sql`delete from onedata.queue where import_id = ${good}`;
    await store.sql`update onedata.lane_runs set run_id = null where lane_id in (select id from onedata.lanes where pipeline_id = ${made.pipelineId})`;
    expect(await resumeImport(store.sql, made.tenantId, { name: "ana" }, bad)).toMatchObject({ state: "receiving" });
    const resumed = await claimed(route);
    expect(resumed.reduce((sum, { n }) => sum + n, 0)).toBe(500);
    expect(resumed.map(({ seq }) => seq)).toEqual(resumed.map(({ seq }) => seq).sort((a, b) => Number(a - b)));
  });
});
