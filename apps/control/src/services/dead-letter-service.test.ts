/** Dead letters, single events and jobs through the contract; the test decides what dies. */
import { randomUUID } from "node:crypto";
import { formatEventId } from "@onedata/core";
import { captureGroup, claimRun, completeRun, loadEvents, registerEngine } from "@onedata/store";
import { getPipeline } from "@onedata/store/control";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type ControlWorld, openControlWorld } from "../control-world.ts";
import { runRound } from "../jobs/job-runner.ts";

const SPEC = (expression: string): string =>
  `name: orders\ninput: { schema: { type: object, required: [id] } }\nsteps: [{ id: total, use: record.map, with: { set: { total: '${expression}' } } }]\n`;

let world: ControlWorld;
const engine = randomUUID();

beforeAll(async () => {
  world = await openControlWorld();
  await world.pipelines.applyPipeline({ pipeline: "orders", document: SPEC("price * 2"), mediaType: "application/yaml" }, world.ana);
  await registerEngine(world.store, { incarnation: engine, slots: 1, leaseMs: 3_600_000 });
});
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(async () => {
  world.transform.up = true;
  await world.store.sql`truncate onedata.queue`;
  await world.store.sql`update onedata.dead_letters set state = 'discarded' where state <> 'discarded'`;
});

async function capture(...payloads: string[]): Promise<string[]> {
  const { tenantId } = world.ana.identity;
  const { id, activeVersion } = await getPipeline(world.store.sql, tenantId, "orders");
  const target = { tenantId, pipelineId: id, version: activeVersion ?? 0, laneClass: "live", ordered: false } as const;
  const [outcomes = []] = await captureGroup(world.store, [{ target, events: payloads.map((payload) => ({ payload })) }]);
  return outcomes.map((outcome) => (outcome.kind === "captured" ? formatEventId(outcome) : ""));
}

/** Completes what waits; `sink`: the sink that refused the record. */
async function finish(verdict: "delivered" | "dead", { sink, payload }: { sink?: string; payload?: string } = {}): Promise<void> {
  const { run } = await claimRun(world.store, { runId: randomUUID(), owner: engine, deadlineMs: 60_000 });
  if (run === undefined) return;
  const events = await loadEvents(world.store, run.batches);
  await completeRun(world.store, {
    runId: run.runId,
    engine,
    wokenBy: "test",
    durationMs: 1,
    batches: run.batches.map((batch) => ({
      ...batch,
      verdicts: new Uint8Array(batch.n).fill(verdict === "dead" ? 2 : 1),
      counts: { delivered: verdict === "delivered" ? batch.n : 0, filtered: 0, dead: verdict === "dead" ? batch.n : 0 },
      deadLetters:
        verdict === "delivered"
          ? []
          : (events.get(batch.batchId) ?? []).map((event) => ({
              n: event.n,
              step: sink === undefined ? "total" : "",
              sink,
              code: "record.invalid",
              fingerprint: "f",
              message: "no price",
              payload: payload ?? event.payload,
            })),
    })),
  });
}

async function settle(): Promise<void> {
  const log = { warn: (message: string, fields: object) => expect.fail(`${message} ${JSON.stringify(fields)}`) };
  while ((await runRound({ sql: world.store.sql, log }, new Map(), new AbortController().signal)).moved);
}

describe("dead letters", () => {
  it("are listed by code, step, version and time, and shown singly", async () => {
    await capture('{"id":1}');
    await finish("dead");
    const filter = { pipeline: "orders", code: "record.invalid", step: "total", version: 1, state: "open" };
    const { deadLetters } = await world.deadLetters.listDeadLetters(filter, world.ana);
    expect(deadLetters).toMatchObject([{ code: "record.invalid", step: "total", state: "open", job: "", reason: "" }]);
    for (const other of [{ code: "x" }, { step: "x" }, { sink: "x" }, { version: 2 }, { until: new Date(0) }, { since: new Date("2150-01-01") }])
      expect((await world.deadLetters.listDeadLetters({ ...filter, ...other }, world.ana)).deadLetters).toEqual([]);
    const id = deadLetters[0]?.id ?? "";
    const job = await world.deadLetters.discardDeadLetters({ filter: { ids: [id] }, reason: "a test order" }, world.ana);
    await settle();
    expect(await world.deadLetters.getDeadLetter({ deadLetter: id }, world.ana)).toMatchObject({
      state: "discarded",
      reason: "a test order",
      job: job.id,
    });
    await expect(world.deadLetters.getDeadLetter({ deadLetter: "dl_nonsense!" }, world.ana)).rejects.toMatchObject({ code: "deadletter.not_found" });
  });

  it("are tried on a spec before it is applied: each verdict with examples, nothing written", async () => {
    await capture('{"id":1,"price":3}', '{"id":2,"price":"x"}', '{"price":4}');
    await finish("dead");
    const preview = await world.deadLetters.previewDeadLetters({ filter: { fingerprint: "f" }, document: SPEC("price * 3") }, world.ana);
    expect(preview).toMatchObject({ matching: 3, delivered: 1, filtered: 0, dead: 2, skipped: 0 });
    expect(preview.examples.map(({ verdict, input, outputs, code }) => ({ verdict, input, outputs, code }))).toEqual([
      { verdict: "delivered", input: '{"id":1,"price":3}', outputs: ['{"id":1,"price":3,"total":9}'], code: "" },
      { verdict: "dead", input: '{"price":4}', outputs: [], code: "input.invalid" },
      { verdict: "dead", input: '{"id":2,"price":"x"}', outputs: [], code: "expression.failed" },
    ]);
    const active = await world.deadLetters.previewDeadLetters({ filter: { pipeline: "orders" }, limit: 1 }, world.ana);
    expect(active).toMatchObject({ matching: 3 });
    expect(active.delivered + active.dead).toBe(1);
    await expect(
      world.deadLetters.previewDeadLetters({ filter: { pipeline: "orders" }, document: "name: orders\nsteps: 7" }, world.ana),
    ).rejects.toMatchObject({
      code: "pipeline.invalid",
    });
    world.transform.up = false;
    const down = await world.deadLetters.previewDeadLetters({ filter: { pipeline: "orders" } }, world.ana);
    expect(down).toMatchObject({ delivered: 0, skipped: 2, dead: 1 });
    expect(down.examples.find(({ verdict }) => verdict === "skipped")?.message).toContain("down");
  });

  it("that a sink refused are not promised while it would get the same record again", async () => {
    await capture('{"id":1,"price":3}');
    await finish("dead", { sink: "onedata_outputs", payload: '{"total":6,"id":1,"price":3}' });
    const { spec } = await world.pipelines.getVersion({ pipeline: "orders", version: 1 }, world.ana);
    expect(spec).toContain("total");
    const [{ sink = "" } = {}] = await world.store.sql<{ sink: string }[]>`
      select plan::json->'sinks'->0->>'id' as sink from onedata.pipeline_versions v join onedata.pipelines p on p.id = v.pipeline_id where p.name = 'orders' limit 1`;
    await world.store.sql`update onedata.dead_letters set sink = ${sink} where state = 'open'`;
    const same = await world.deadLetters.previewDeadLetters({ filter: { pipeline: "orders" } }, world.ana);
    expect(same).toMatchObject({ delivered: 0, skipped: 1, examples: [{ message: expect.stringContaining("no price") }] });
    expect(await world.deadLetters.previewDeadLetters({ filter: { pipeline: "orders" }, document: SPEC("price * 5") }, world.ana)).toMatchObject({
      delivered: 1,
    });
  });
});

describe("jobs", () => {
  it("are started, watched to their end, listed and shown at the event", async () => {
    const [event = ""] = await capture('{"id":1}');
    await finish("dead");
    const request = { filter: { pipeline: "orders" }, reason: "fixed" };
    expect(await world.deadLetters.replayDeadLetters({ ...request, dryRun: true }, world.ana)).toMatchObject({ id: "", total: 1 });
    const job = await world.deadLetters.replayDeadLetters(request, world.ana);
    expect(job).toMatchObject({ kind: "replay", pipeline: "orders", state: "preparing", createdBy: "ana", reason: "its list is being made" });
    const seen: string[] = [];
    for await (const now of world.jobs.watchJob({ job: job.id }, world.ana)) {
      seen.push(now.state);
      await settle();
      await finish("delivered");
      await settle();
    }
    expect(seen).toEqual(["preparing", "done"]);
    expect(await world.jobs.getJob({ job: job.id }, world.ana)).toMatchObject({ state: "done", delivered: 1, total: 1, queued: 1, reason: "" });
    expect((await world.jobs.listJobs({ pipeline: "orders", state: "done", pageSize: 1 }, world.ana)).jobs).toMatchObject([{ id: job.id }]);
    const shown = await world.events.getEvent({ event }, world.ana);
    expect(shown).toMatchObject({
      state: "done",
      verdict: "delivered",
      deliveries: [{ job: job.id, kind: "replay", generation: 0, state: "done", verdict: "delivered", edited: false }],
    });
    expect((await world.events.listEvents({ pipeline: "orders", pageSize: 1 }, world.ana)).events).toMatchObject([
      { id: event, state: "done", verdict: "delivered" },
    ]);
    await expect(world.jobs.cancelJob({ job: job.id }, world.ana)).rejects.toMatchObject({ code: "job.conflict" });
    await expect(world.jobs.listJobs({ state: "odd" }, world.ana)).rejects.toMatchObject({ code: "request.invalid" });
    await expect(world.jobs.startBackfill({ pipeline: "orders", since: new Date(0), verdict: "odd" }, world.ana)).rejects.toMatchObject({
      code: "request.invalid",
    });
    expect(await world.jobs.startBackfill({ pipeline: "orders", since: new Date(0), dryRun: true }, world.ana)).toMatchObject({
      kind: "backfill",
      id: "",
    });
  });

  it("hold an edited payload to the input schema", async () => {
    const [event = ""] = await capture('{"id":1}');
    await finish("dead");
    await expect(world.events.replayEvent({ event, payload: '{"price":1}' }, world.ana)).rejects.toMatchObject({
      code: "capture.schema_mismatch",
      violations: [{ detail: expect.stringContaining("id") }],
    });
    await expect(world.events.replayEvent({ event, payload: "{" }, world.ana)).rejects.toMatchObject({ code: "capture.json_malformed" });
    await expect(world.events.replayEvent({ event, payload: JSON.stringify({ id: "x".repeat(300_000) }) }, world.ana)).rejects.toMatchObject({
      code: "request.too_large",
    });
    const job = await world.events.replayEvent({ event, payload: '{"id":1,"price":1}' }, world.ana);
    expect(job).toMatchObject({ total: 1, generation: 0, description: expect.stringContaining("another payload") });
    await expect(world.events.replayEvent({ event }, world.ana)).rejects.toMatchObject({ code: "event.conflict" });
    await settle();
    await finish("delivered");
    await settle();
    expect((await world.events.getEvent({ event }, world.ana)).deliveries).toMatchObject([{ edited: true, verdict: "delivered" }]);
    // The edited payload stands as a row of the replay's own batch, which is no event.
    const [copy] = await world.store.sql<{ id: string }[]>`
      select onedata.event_id(r.batch_id, r.n) as id from onedata.batch_refs r join onedata.events e on e.batch_id = r.batch_id limit 1`;
    await expect(world.events.getEvent({ event: copy?.id ?? "" }, world.ana)).rejects.toMatchObject({ code: "event.not_found" });
  });
});
