import { randomUUID } from "node:crypto";
import { formatEventId, OneDataError, type PipelineId, toBatchId, toLaneId, toVerdictByte, type Verdict } from "@onedata/core";
import { blockLanes, type ClaimedRun, captureGroup, claimRun, completeRun, registerEngine } from "@onedata/store";
import { continueDiscards, discardBacklog, getPipeline } from "@onedata/store/control";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { type ControlWorld, openControlWorld } from "../control-world.ts";
import { sweepDeleted } from "../sweep.ts";

const ENGINE = randomUUID();
const TRACE = Buffer.from(`${"ab".repeat(16)}${"cd".repeat(8)}01`, "hex");

const problemOf = async (call: Promise<unknown>): Promise<OneDataError> => {
  try {
    await call;
  } catch (error) {
    return OneDataError.from(error);
  }
  throw new Error("the call succeeded");
};

describe("EventService", () => {
  let world: ControlWorld;
  beforeAll(async () => {
    world = await openControlWorld();
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const apply = async (name: string, more = ""): Promise<PipelineId> => {
    await world.pipelines.applyPipeline({ pipeline: name, document: `name: ${name}\n${more}`, mediaType: "application/yaml" }, world.ana);
    return (await getPipeline(world.store.sql, world.ana.identity.tenantId, name)).id;
  };
  const capture = async (pipelineId: PipelineId, payloads: readonly string[]): Promise<string[]> => {
    const target = { tenantId: world.ana.identity.tenantId, pipelineId, version: 1, laneClass: "live" as const, ordered: false };
    const [outcomes = []] = await captureGroup(world.store, [{ target, events: payloads.map((payload) => ({ payload, trace: TRACE })) }]);
    return outcomes.map((outcome) => {
      if (outcome.kind !== "captured") throw new Error(outcome.kind);
      return formatEventId(outcome);
    });
  };
  const claim = async (): Promise<ClaimedRun> => {
    await registerEngine(world.store, { incarnation: ENGINE, slots: 1, leaseMs: 60_000 });
    const { run } = await claimRun(world.store, { runId: randomUUID(), owner: ENGINE, deadlineMs: 60_000 });
    if (run === undefined) throw new Error("nothing waits");
    return run;
  };
  const complete = async (run: ClaimedRun, verdicts: readonly Verdict[], outputs: readonly string[] = []): Promise<void> => {
    await completeRun(world.store, {
      runId: run.runId,
      engine: ENGINE,
      wokenBy: "test",
      durationMs: 12,
      steps: [{ step: "a+b", service: "transform", durationMs: 3.5, calls: 1 }],
      batches: run.batches.map((batch) => ({
        ...batch,
        verdicts: Uint8Array.from(verdicts.map(toVerdictByte)),
        counts: { delivered: verdicts.length, filtered: 0, dead: 0 },
        deadLetters: verdicts.flatMap((verdict, n) =>
          verdict.kind === "dead"
            ? [{ n, step: "a", code: "expression.failed", fingerprint: "f1", message: `no price in ${n}`, payload: '{"at":"a"}' }]
            : [],
        ),
        outputs: outputs.length === 0 ? [] : [{ sink: 0, ordinals: outputs.map((_, i) => Math.min(i, verdicts.length - 1)), payloads: outputs }],
      })),
    });
  };

  it("keeps the payload byte for byte, and says what a waiting event waits for", async () => {
    const pipelineId = await apply("exact");
    const payload = '{"a":1.10, "b":12345678901234567890,"c":"\\u0000"}';
    const [id = ""] = await capture(pipelineId, [payload]);
    expect(await world.events.getEvent({ event: id }, world.ana)).toMatchObject({
      id,
      pipeline: "exact",
      state: "waiting",
      verdict: "",
      payload,
      traceId: "ab".repeat(16),
      waitingFor: "no engine is running",
      attempt: 0,
      timeline: [],
      deadLetters: [],
    });
    await world.pipelines.pausePipeline({ pipeline: "exact", reason: "" }, world.ana);
    expect((await world.events.getEvent({ event: id }, world.ana)).waitingFor).toMatch(/^paused by ana since \d\d:\d\d UTC$/);
    await world.pipelines.resumePipeline({ pipeline: "exact" }, world.ana);
    await registerEngine(world.store, { incarnation: ENGINE, slots: 1, leaseMs: 60_000 });
    const [lane] = await world.store.sql<{ lane_id: bigint }[]>`select lane_id from onedata.queue`;
    const backoff = { firstMs: 60_000, mostMs: 60_000 };
    await blockLanes(
      world.store,
      { laneIds: [toLaneId(lane?.lane_id ?? 0n)] },
      { backoff, jitter: 1, reason: "service enrich is down (service.unavailable)" },
    );
    expect((await world.events.getEvent({ event: id }, world.ana)).waitingFor).toMatch(
      /^service enrich is down \(service.unavailable\), since \d\d:\d\d UTC, next try \d\d:\d\d:\d\d UTC$/,
    );
    await world.store.sql`update onedata.lanes set blocked_until = null`;
    const run = await claim();
    expect(await world.events.getEvent({ event: id }, world.ana)).toMatchObject({
      state: "running",
      attempt: 1,
      waitingFor: expect.stringMatching(/^an engine is running it, attempt 1; taken over by another one /),
    });
    await complete(run, [{ kind: "delivered" }]);
    expect(await world.events.getEvent({ event: id }, world.ana)).toMatchObject({
      state: "done",
      verdict: "delivered",
      waitingFor: "",
      version: 1,
      attempt: 1,
      timeline: [{ attempt: 1, verdict: "delivered", steps: [{ step: "a+b", service: "transform", durationMs: 3.5 }] }],
    });
  });

  it("tells each event of a batch its own verdict, with its dead letters singly and by cause", async () => {
    const ids = await capture(await apply("mixed"), ['{"v":1}', '{"v":2}', '{"v":3}']);
    await complete(await claim(), [{ kind: "delivered" }, { kind: "filtered", step: 0 }, { kind: "dead" }]);
    const events = await Promise.all(ids.map((event) => world.events.getEvent({ event }, world.ana)));
    expect(events.map(({ state, verdict }) => [state, verdict])).toEqual([
      ["done", "delivered"],
      ["done", "filtered"],
      ["done", "dead"],
    ]);
    expect(events[2]?.deadLetters).toMatchObject([{ step: "a", sink: "", code: "expression.failed", message: "no price in 2" }]);
    const { deadLetters } = await world.deadLetters.listDeadLetters({ pipeline: "mixed" }, world.ana);
    expect(deadLetters).toMatchObject([{ event: ids[2], pipeline: "mixed", version: 1, step: "a", state: "open", payload: '{"at":"a"}' }]);
    expect((await world.deadLetters.groupDeadLetters({ pipeline: "mixed" }, world.ana)).groups).toMatchObject([
      { fingerprint: "f1", count: 1, sinceVersion: 1, step: "a", example: { event: ids[2] } },
    ]);
    expect(await world.pipelines.getStats({ pipeline: "mixed" }, world.ana)).toMatchObject({ waitingEvents: 0, openDeadLetters: 1 });
  });

  it("lists events newest first, by pages, by state and by time", async () => {
    const pipelineId = await apply("listed");
    const ids = [...(await capture(pipelineId, ["1", "2", "3"])), ...(await capture(pipelineId, ["4", "5"]))];
    const seen: string[] = [];
    for (let pageToken = "", pages = 0; pages === 0 || pageToken !== ""; pages++) {
      const page = await world.events.listEvents({ pipeline: "listed", pageSize: 2, pageToken }, world.ana);
      seen.push(...page.events.map((event) => event.id));
      pageToken = page.nextPageToken;
    }
    expect([...seen].sort()).toEqual([...ids].sort());
    expect(seen.slice(0, 2)).toEqual([ids[4], ids[3]]);
    const list = async (more: object): Promise<number> => (await world.events.listEvents({ pipeline: "listed", ...more }, world.ana)).events.length;
    expect(await list({ state: "waiting" })).toBe(5);
    expect(await list({ state: "done" })).toBe(0);
    expect(await list({ since: new Date(Date.now() + 60_000) })).toBe(0);
    expect(await list({ until: new Date(Date.now() + 60_000) })).toBe(5);
    expect(await problemOf(list({ state: "lost" }))).toMatchObject({ code: "request.invalid" });
    await complete(await claim(), [{ kind: "delivered" }, { kind: "delivered" }, { kind: "delivered" }]);
    expect(await list({ state: "done" })).toBe(5);
  });

  /** A page that has something: open transactions of the server's other databases hold outputs back too. */
  const outputs = (pipeline: string, page: { pageSize?: number; pageToken?: string }) =>
    vi.waitFor(
      async () => {
        const answer = await world.events.listOutputs({ pipeline, ...page }, world.ana);
        expect(answer.outputs).not.toEqual([]);
        return answer;
      },
      { timeout: 20_000, interval: 20 },
    );

  it("pages through outputs in the order of completion and goes on from the last place later", async () => {
    const pipelineId = await apply("outs");
    const ids = await capture(pipelineId, ["1", "2"]);
    await complete(await claim(), [{ kind: "delivered" }, { kind: "delivered" }], ['{"o":1}', '{"o":2}', '{"o":3}']);
    const first = await outputs("outs", { pageSize: 2 });
    expect(first.outputs).toEqual([
      { event: ids[0], k: 0, record: '{"o":1}' },
      { event: ids[1], k: 0, record: '{"o":2}' },
    ]);
    const second = await world.events.listOutputs({ pipeline: "outs", pageSize: 2, pageToken: first.nextPageToken }, world.ana);
    expect(second.outputs).toEqual([{ event: ids[1], k: 1, record: '{"o":3}' }]);
    const empty = await world.events.listOutputs({ pipeline: "outs", pageToken: second.nextPageToken }, world.ana);
    expect(empty).toEqual({ outputs: [], nextPageToken: second.nextPageToken });
    await capture(pipelineId, ["3"]);
    await complete(await claim(), [{ kind: "delivered" }], ['{"o":4}']);
    expect((await outputs("outs", { pageToken: second.nextPageToken })).outputs).toMatchObject([{ record: '{"o":4}' }]);
  });

  it("shows no output of a transaction below which another may still commit", async () => {
    const pipelineId = await apply("held");
    await capture(pipelineId, ["1"]);
    const run = await claim();
    let isOpen: () => void = () => undefined;
    const opened = new Promise<void>((resolve) => (isOpen = resolve));
    let end: () => void = () => undefined;
    const ended = new Promise<void>((resolve) => (end = resolve));
    const older = world.store.sql.begin(async (tx) => {
      await tx`select pg_current_xact_id()`;
      isOpen();
      await ended;
    });
    await opened;
    await complete(run, [{ kind: "delivered" }], ['{"o":1}']);
    expect((await world.events.listOutputs({ pipeline: "held" }, world.ana)).outputs).toEqual([]);
    end();
    await older;
    expect((await outputs("held", {})).outputs).toHaveLength(1);
  });

  it("says why a pipeline with other sinks has no outputs to read", async () => {
    await world.connections.putConnection({ connection: "warehouse", kind: "postgres", config: { host: "db", database: "d", user: "u" } }, world.ana);
    await apply("elsewhere", "sinks: [{ use: postgres.upsert, with: { connection: warehouse, table: orders } }]");
    expect(await problemOf(world.events.listOutputs({ pipeline: "elsewhere" }, world.ana))).toMatchObject({
      code: "outputs.unavailable",
      message: expect.stringContaining("postgres.upsert"),
    });
  });

  it("tails events as they finish", async () => {
    const pipelineId = await apply("tailed");
    const tail = world.events.tailEvents({ pipeline: "tailed" }, world.ana)[Symbol.asyncIterator]();
    let isShown = false;
    const first = tail.next().finally(() => (isShown = true));
    // Events finish until the tail has begun to look; it shows the first one that finishes after that.
    const finished: string[] = [];
    while (!isShown) {
      finished.push(...(await capture(pipelineId, ["1"])));
      await complete(await claim(), [{ kind: "delivered" }]);
    }
    const { value } = await first;
    expect(value).toMatchObject({ pipeline: "tailed", state: "done", verdict: "delivered" });
    expect(finished).toContain(value.id);
    await tail.return?.();
  });

  it("turns a backlog into dead letters and keeps the pipeline", async () => {
    const [id = ""] = await capture(await apply("full"), ["1", "2"]);
    expect(await world.pipelines.getStats({ pipeline: "full" }, world.ana)).toMatchObject({ waitingEvents: 2 });
    expect(await world.pipelines.discardBacklog({ pipeline: "full", reason: "old news" }, world.ana)).toEqual({ events: 2 });
    expect(await world.events.getEvent({ event: id }, world.ana)).toMatchObject({
      state: "done",
      verdict: "dead",
      deadLetters: [{ code: "pipeline.discarded", message: "discarded by ana: old news" }],
    });
    expect(await world.pipelines.getStats({ pipeline: "full" }, world.ana)).toMatchObject({ waitingEvents: 0, dead: 2, openDeadLetters: 2 });
    expect((await world.pipelines.getPipeline({ pipeline: "full" }, world.ana)).state).toBe("running");
  });

  it("goes on with a discard that did not end in time", async () => {
    const pipelineId = await apply("huge");
    await capture(pipelineId, ["1", "2"]);
    const { tenantId } = world.ana.identity;
    for (let i = 0; i < 400; i++) await capture(pipelineId, ["1"]);
    expect(
      await discardBacklog(world.store.sql, tenantId, { name: "ana" }, { name: "huge", reason: "", code: "pipeline.discarded", budgetMs: 0 }),
    ).toBe(402);
    expect((await world.pipelines.getStats({ pipeline: "huge" }, world.ana)).waitingEvents).toBeGreaterThan(0);
    await world.store.sql`update onedata.jobs set created_at = now() - interval '1 minute'`;
    await continueDiscards(world.store.sql, 60_000);
    expect(await world.pipelines.getStats({ pipeline: "huge" }, world.ana)).toMatchObject({ waitingEvents: 0, openDeadLetters: 402 });
    expect([...(await world.store.sql`select distinct state from onedata.jobs`)]).toEqual([{ state: "done" }]);
  });

  it("deletes a pipeline: refuses events, drains or discards, and is then really gone", async () => {
    const drained = await apply("drained");
    const discarded = await apply("discarded");
    const [kept = ""] = await capture(drained, ["1"]);
    const [lost = ""] = await capture(discarded, ["2"]);
    expect(await world.pipelines.deletePipeline({ pipeline: "drained" }, world.ana)).toMatchObject({ state: "deleting" });
    await world.pipelines.deletePipeline({ pipeline: "discarded", discard: true }, world.ana);
    expect(await problemOf(apply("drained"))).toMatchObject({ code: "pipeline.conflict" });
    const sweep = (): Promise<number> => sweepDeleted(world.store.sql, { graceSeconds: 0, signal: new AbortController().signal });
    expect(await sweep()).toBe(1);
    expect(await problemOf(world.pipelines.getPipeline({ pipeline: "discarded" }, world.ana))).toMatchObject({ code: "pipeline.not_found" });
    expect(await world.events.getEvent({ event: lost }, world.ana)).toMatchObject({
      verdict: "dead",
      pipeline: "",
      deadLetters: [{ code: "pipeline.deleted" }],
    });
    expect(await world.pipelines.getPipeline({ pipeline: "drained" }, world.ana)).toMatchObject({
      state: "deleting",
      reason: expect.stringMatching(/^being deleted by ana since .*; its backlog drains$/),
    });
    await complete(await claim(), [{ kind: "delivered" }]);
    expect(await sweep()).toBe(1);
    expect(await world.events.getEvent({ event: kept }, world.ana)).toMatchObject({ state: "done", verdict: "delivered" });
    expect((await world.store.sql`select 1 from onedata.lanes where pipeline_id in (${drained}, ${discarded})`).length).toBe(0);
    await apply("drained");
  });

  it("knows no malformed and no unknown id", async () => {
    for (const event of ["evt_zzz", "nonsense", formatEventId({ batchId: toBatchId(12345n), n: 0 })]) {
      expect(await problemOf(world.events.getEvent({ event }, world.ana))).toMatchObject({ code: "event.not_found" });
    }
  });
});
