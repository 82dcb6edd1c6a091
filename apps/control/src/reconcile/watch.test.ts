/** The reconciler as operators meet it: one pass of all processes, warnings once, metrics, and the deep look into sinks' ledgers. */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { openHealthServer } from "@onedata/mesh";
import { captureGroup, claimRun, completeRun, readInstallationId, registerEngine } from "@onedata/store";
import { createSecretBox } from "@onedata/store/control";
import { claimLedger, ensureLedger } from "@onedata/store/ledger";
import { createTestPipeline } from "@onedata/store/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { asUser, type ControlWorld, openControlWorld, TEST_SECRET_KEY } from "../control-world.ts";
import { METRICS_TYPE } from "./metrics.ts";
import { createWatch } from "./watch.ts";

let world: ControlWorld;
beforeAll(async () => {
  world = await openControlWorld();
});
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(async () => {
  await world.store.sql`truncate onedata.engines, onedata.findings, onedata.queue, onedata.batches, onedata.events, onedata.runs`;
  await world.store.sql`delete from onedata.detectors where name = 'reconcile'`;
});

const engine = randomUUID();
const startEngine = () => registerEngine(world.store, { incarnation: engine, slots: 1, leaseMs: 60_000 });

function open() {
  const warned: string[] = [];
  const watch = createWatch({
    sql: world.store.sql,
    box: createSecretBox(TEST_SECRET_KEY),
    maxRetention: { eventsDays: 7, deadLettersDays: 30 },
    services: { unreachable: new Map([["dns:///enrich:7443", "connection refused"]]), refresh: async () => undefined },
    log: { warn: (message) => void warned.push(message) },
    now: Date.now,
    random: () => 0,
    everyMs: 0,
  });
  return { watch, warned };
}

describe("the watch", () => {
  it("warns once of a new finding, shows it to scrapers, and is quiet when it is mended", async () => {
    const { watch, warned } = open();
    await watch.look();
    await watch.look();
    expect(warned.filter((message) => message.startsWith("engines.alive"))).toEqual(["engines.alive: no engine is alive"]);
    await using health = await openHealthServer("127.0.0.1:0", async () => ({ ready: true, problems: [] }), {
      contentType: METRICS_TYPE,
      text: () => watch.metrics(),
    });
    const scrape = async () => {
      const response = await fetch(`http://127.0.0.1:${health.port}/metrics`);
      expect(response.headers.get("content-type")).toContain("openmetrics-text");
      return response.text();
    };
    expect(await scrape()).toMatch(/^onedata_reconcile_findings\{check="engines\.alive"\} 1$/m);
    await startEngine();
    await watch.look();
    const text = await scrape();
    expect(text).toMatch(/^onedata_reconcile_findings\{check="engines\.alive"\} 0$/m);
    expect(text).toMatch(/^onedata_engines_alive 1$/m);
    expect(text).toMatch(/^onedata_queue_batches 0$/m);
    expect(text.endsWith("# EOF\n")).toBe(true);
    expect(warned.filter((message) => message.startsWith("engines.alive"))).toHaveLength(1);
  });

  it("answers operators, the worst first, and nobody else", async () => {
    const operator = asUser(world.ana.identity.tenantId, "op", ["admin"]);
    const { findings } = await world.system.diagnose({}, operator);
    expect(findings[0]).toMatchObject({ check: "engines.alive", state: "warning", advice: expect.stringContaining("start an engine") });
    expect(findings.map(({ check }) => check)).toEqual(expect.arrayContaining(["services.reachable", "database.schema", "queue.orphaned_runs"]));
    await expect(world.system.diagnose({}, world.ana)).rejects.toMatchObject({ code: "auth.scope_missing" });
    const { watch } = open();
    const services = (await watch.diagnose({ deep: false, signal: new AbortController().signal })).find(
      ({ check }) => check === "services.reachable",
    );
    expect(services).toMatchObject({ state: "warning", detail: expect.stringContaining("dns:///enrich:7443: connection refused") });
  });
});

it("tells operators and scrapers of days that retention could not drop", async () => {
  const { sql } = world.store;
  const { watch } = open();
  const look = async () => {
    await watch.look();
    const found = await watch.diagnose({ deep: false, signal: new AbortController().signal });
    return { finding: found.find(({ check }) => check === "retention.days"), text: watch.metrics() };
  };
  const before = await look();
  expect(before.finding).toMatchObject({ state: "ok", count: 0 });
  expect(before.text).toMatch(/^onedata_reconcile_failed\{check="retention\.days"\} 0$/m);
  await sql`select onedata.make_partition('outputs', 'old', 'batch_id', onedata.id_at(now() - interval '20 days'), onedata.id_at(now() - interval '19 days'))`;
  const { finding, text } = await look();
  expect(finding).toMatchObject({
    state: "failed",
    detail: expect.stringContaining("1 day of events"),
    advice: expect.stringContaining("transaction"),
  });
  expect(finding?.examples).toEqual([expect.stringMatching(/^\d{4}-\d\d-\d\d$/)]);
  expect(text).toMatch(/^onedata_reconcile_failed\{check="retention\.days"\} 1$/m);
  expect(text).toMatch(/^onedata_reconcile_failed\{check="retention\.months"\} 0$/m);
  await sql`drop table onedata.outputs_pold`;
  expect((await look()).finding).toMatchObject({ state: "ok" });
});

describe("docs/doctor.md", () => {
  it("names every check", async () => {
    const page = readFileSync(new URL("../../../../docs/doctor.md", import.meta.url), "utf8");
    const findings = await open().watch.diagnose({ deep: true, signal: new AbortController().signal });
    expect(findings.map(({ check }) => check).filter((check) => !page.includes(`\`${check}\``))).toEqual([]);
    expect(findings.length).toBeGreaterThan(30);
  });
});

describe("the deep look", () => {
  it("finds what was delivered and is not in the sink's ledger, and what is in it and is not known here", async () => {
    const { sql } = world.store;
    const { tenantId } = world.ana.identity;
    await startEngine();
    await ensureLedger(sql);
    // The sink's database is this test's own: what matters is what stands in its ledger.
    await world.connections.putConnection({ connection: "warehouse", kind: "postgres", config: {}, secrets: { url: world.store.url } }, world.ana);
    const plan = { sinks: [{ id: "sink1", kind: "postgres.upsert", connection: "warehouse", inputs: ["input"] }] };
    const { pipelineId } = await createTestPipeline(sql, { tenantId, plan });
    const target = { tenantId, pipelineId, version: 1, laneClass: "live" as const, ordered: false };
    await captureGroup(world.store, [{ target, events: [{ payload: "1" }, { payload: "2" }] }]);
    const runId = randomUUID();
    const { run } = await claimRun(world.store, { runId, owner: engine, deadlineMs: 60_000 });
    const batches = run?.batches ?? [];
    await completeRun(world.store, {
      runId,
      engine,
      wokenBy: "test",
      durationMs: 1,
      batches: batches.map((batch) => ({ ...batch, verdicts: Uint8Array.of(1, 1), counts: { delivered: 2, filtered: 0, dead: 0 } })),
    });
    await sql`update onedata.batches set id = id - (90000::bigint << 20)`;
    await sql`update onedata.events set batch_id = batch_id - (90000::bigint << 20)`;
    await sql`update onedata.runs set batch_id = batch_id - (90000::bigint << 20)`;
    const [batch] = await sql<{ id: bigint }[]>`select id from onedata.batches`;
    const batchId = batch?.id ?? 0n;
    const installation = await readInstallationId(sql);
    const write = (id: bigint, ordinals: number[]) => claimLedger(sql, installation, [{ batchId: id, generation: 0, sink: "sink1", ordinals }]);
    const { watch } = open();
    const deep = async () =>
      Object.fromEntries(
        (await watch.diagnose({ deep: true, signal: new AbortController().signal }))
          .filter(({ check }) => check.startsWith("ledger."))
          .map(({ check, state, examples }) => [check, state === "ok" ? state : examples]),
      );
    const event = (n: number) => expect.stringMatching(new RegExp(`^evt_[0-9a-z]+_${n}$`));
    expect(await deep()).toMatchObject({ "ledger.missing_effects": [event(0)], "ledger.unknown_effects": "ok", "ledger.unreadable": "ok" });
    await write(batchId, [0]);
    expect(await deep()).toMatchObject({ "ledger.missing_effects": [event(1)] });
    await write(batchId, [1]);
    expect(await deep()).toEqual({ "ledger.missing_effects": "ok", "ledger.unknown_effects": "ok", "ledger.unreadable": "ok" });
    await write(batchId + (1000n << 20n), [0]);
    expect(await deep()).toMatchObject({ "ledger.missing_effects": "ok", "ledger.unknown_effects": [event(0)] });
    await sql`delete from onedata_applied where batch_id <> ${batchId}`;
    await sql`update onedata.runs set verdicts = decode('0100', 'hex')`;
    expect(await deep()).toMatchObject({ "ledger.missing_effects": "ok", "ledger.unknown_effects": [event(0)] });
    await world.connections.putConnection(
      { connection: "warehouse", kind: "postgres", config: {}, secrets: { url: "postgres://a:b@127.0.0.1:1/x" } },
      world.ana,
    );
    expect(await deep()).toMatchObject({ "ledger.unreadable": ["warehouse"] });
  });
});
