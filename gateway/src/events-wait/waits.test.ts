import { type EventId, parseEventId } from "@onedata/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makePipeline, openWorld, postEvent, type TestClient, type TestWorld, waitFor } from "../testing/world.ts";

describe("Prefer: wait", () => {
  let world: TestWorld;
  let client: TestClient;
  let pipeline: { name: string; pipelineId: bigint };
  beforeAll(async () => {
    world = await openWorld();
    client = await world.signIn();
    pipeline = await makePipeline(world, client, { plan: { sinks: [{ id: "out", kind: "onedata.outputs" }] } });
  });
  afterAll(() => world[Symbol.asyncDispose]());

  /** What an engine's completion writes, for one event. */
  const complete = async ({ batchId, n }: EventId, verdict: number, outputs: readonly string[] = []): Promise<void> => {
    const verdicts = Buffer.alloc(n + 1);
    verdicts[n] = verdict;
    await world.store.sql.begin(async (transaction) => {
      await transaction`delete from onedata.queue where batch_id = ${batchId}`;
      await transaction`insert into onedata.runs (batch_id, attempt, run_id, started_at, outcome, verdicts) values (${batchId}, 1, gen_random_uuid(), now(), 'done', ${verdicts})`;
      if (outputs.length > 0) {
        await transaction`insert into onedata.outputs (batch_id, attempt, sink, pipeline_id, ordinals, payloads, bytes)
          values (${batchId}, 1, 0, ${pipeline.pipelineId}, ${`{${outputs.map(() => n).join(",")}}`}::int[], ${outputs.join("\u001e")}, 1)`;
      }
    });
  };
  const captured = async (marker: string): Promise<EventId> => {
    const rows = await waitFor(
      () =>
        world.store.sql<
          { id: string }[]
        >`select onedata.event_id(e.batch_id, e.n) as id from onedata.batches b join onedata.events e on e.batch_id = b.id where b.pipeline_id = ${pipeline.pipelineId} and e.payload = ${marker}`,
      (found) => found.length === 1,
    );
    return parseEventId(rows[0]?.id ?? "");
  };

  it("answers 200 with verdict and outputs when the event is done in time", async () => {
    const answered = postEvent(world.first.url, client, pipeline.name, '{"w":1}', { prefer: "wait=10" });
    await complete(await captured('{"w":1}'), 1, ['{"total":1.10}', '{"total":2}']);
    const response = await answered;
    expect([response.status, response.headers.get("preference-applied")]).toEqual([200, "wait=10"]);
    expect(await response.text()).toMatch(/^\{"id":"evt_\w+","state":"done","verdict":"delivered","outputs":\[\{"total":1\.10\},\{"total":2\}\]\}$/);
  });

  it("tells filtered and dead events, and shows no outputs to who may not read", async () => {
    const writer = await world.signIn({ scopes: ["events:write"] });
    const own = await makePipeline(world, writer);
    expect((await postEvent(world.first.url, writer, own.name, "0", { prefer: "wait=0" })).status).toBe(202);
    for (const [marker, byte, verdict] of [
      ['{"w":2}', 2, "dead"],
      ['{"w":3}', 17, "filtered"],
    ] as const) {
      const answered = postEvent(world.first.url, client, pipeline.name, marker, { prefer: "respond-async, wait=10" });
      await complete(await captured(marker), byte);
      expect(await (await answered).json()).toMatchObject({ state: "done", verdict });
    }
  });

  it("answers 202 when the time is over", async () => {
    const response = await postEvent(world.first.url, client, pipeline.name, '{"w":4}', { prefer: "wait=1" });
    expect([response.status, Object.keys((await response.json()) as object)]).toEqual([202, ["id"]]);
  });

  it("serves CaptureService on the same writer: all of a call's events or none", async () => {
    const strict = await makePipeline(world, client, { plan: { sinks: [], inputSchema: { required: ["id"] } } });
    const { captureService } = world.first.gateway;
    const context = {
      tenantId: (await world.store.sql<{ id: bigint }[]>`select tenant_id as id from onedata.pipelines where id = ${strict.pipelineId}`)[0]?.id,
      principal: "p",
      scopes: new Set(["events:write"]),
      caller: "extract",
      traceparent: undefined,
      metadata: {},
      signal: new AbortController().signal,
      deadlineAtMs: performance.now() + 5_000,
    } as unknown as Parameters<typeof captureService.captureEvents>[1];
    const good = await captureService.captureEvents(
      {
        pipeline: strict.name,
        events: [
          { payload: '{"id":1}', idempotencyKey: "" },
          { payload: '{"id":2}', idempotencyKey: "k" },
          { payload: '{"id":2}', idempotencyKey: "k" },
        ],
      },
      context,
    );
    expect(good.events?.map((event) => event?.duplicate)).toEqual([false, false, true]);
    await expect(
      captureService.captureEvents(
        {
          pipeline: strict.name,
          events: [
            { payload: '{"id":3}', idempotencyKey: "" },
            { payload: "{}", idempotencyKey: "" },
          ],
        },
        context,
      ),
    ).rejects.toMatchObject({ code: "capture.schema_mismatch" });
    const one = await captureService.captureEvent(
      { pipeline: strict.name, payload: '{"id":4}', mediaType: "", idempotencyKey: "", waitSeconds: 0 },
      context,
    );
    expect(one.id).toMatch(/^evt_/);
    const [row] = await world.store.sql<
      { n: bigint }[]
    >`select count(*) as n from onedata.batches b join onedata.events e on e.batch_id = b.id where b.pipeline_id = ${strict.pipelineId}`;
    expect(Number(row?.n)).toBe(3);
  });
});
