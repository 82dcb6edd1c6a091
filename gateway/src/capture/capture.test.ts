import { parseEventId } from "@onedata/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makePipeline, openWorld, postEvent, type TestClient, type TestWorld, waitFor } from "../testing/world.ts";

describe("POST /v1/pipelines/{pipeline}/events", () => {
  let world: TestWorld;
  let client: TestClient;
  let pipeline: string;
  beforeAll(async () => {
    world = await openWorld();
    client = await world.signIn();
    pipeline = (await makePipeline(world, client)).name;
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const stored = async (id: string): Promise<{ payload: string; ordering_key: string | null; trace: Buffer | null } | undefined> => {
    const { batchId, n } = parseEventId(id);
    const [row] = await world.store.sql<{ payload: string; ordering_key: string | null; trace: Buffer | null }[]>`
      select payload, ordering_key, trace from onedata.events where batch_id = ${batchId} and n = ${n}`;
    return row;
  };
  const idOf = async (response: Response): Promise<string> => ((await response.json()) as { id: string }).id;

  it("answers 202 after the commit and keeps the payload byte for byte", async () => {
    const text = ' {"a":1.10,"b":12345678901234567890,"c":"\\u0000", "ø":"日本"}\n';
    const response = await postEvent(world.first.url, client, pipeline, text);
    expect(response.status).toBe(202);
    const id = await idOf(response);
    expect(response.headers.get("location")).toBe(`/v1/events/${id}`);
    expect((await stored(id))?.payload).toBe(text);
  });

  it("stores the caller's trace context, and makes one where there is none", async () => {
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    const given = await idOf(await postEvent(world.first.url, client, pipeline, "1", { traceparent }));
    expect((await stored(given))?.trace?.toString("hex")).toBe("0af7651916cd43dd8448eb211c80319cb7ad6b716920333100");
    const made = await idOf(
      await postEvent(world.first.url, client, pipeline, "1", { traceparent: "00-00000000000000000000000000000000-b7ad6b7169203331-01" }),
    );
    expect((await stored(made))?.trace?.toString("hex")).toMatch(/^(?!0{32})[0-9a-f]{48}00$/);
  });

  it("captures other media types in an envelope", async () => {
    const text = await idOf(await postEvent(world.first.url, client, pipeline, "a,b\n1,2", { "content-type": "text/csv; charset=utf-8" }));
    expect(JSON.parse((await stored(text))?.payload ?? "")).toEqual({ mediaType: "text/csv; charset=utf-8", text: "a,b\n1,2" });
    const binary = await idOf(
      await postEvent(world.first.url, client, pipeline, new Uint8Array([0xff, 0, 1]), { "content-type": "application/octet-stream" }),
    );
    expect(JSON.parse((await stored(binary))?.payload ?? "")).toEqual({ mediaType: "application/octet-stream", base64: "/wAB" });
  });

  it.each([
    ["malformed JSON", '{"a": nope}', {}, 400, "capture.json_malformed", /line 1, column 7/],
    ["an empty body", "", {}, 400, "capture.json_malformed", /empty/],
    ["invalid UTF-8", new Uint8Array([0x22, 0xff, 0x22]), {}, 400, "capture.utf8_invalid", /0xff at offset 1/],
    ["more than 256 KiB", JSON.stringify("x".repeat(300 * 1024)), {}, 413, "request.too_large", /262144/],
    ["more than any limit", JSON.stringify("x".repeat(3 * 1024 * 1024)), {}, 413, "request.too_large", /262144/],
    ["nesting without end", "[".repeat(5000) + "]".repeat(5000), {}, 400, "capture.json_malformed", /64 levels/],
    ["a key that is too long", "1", { "idempotency-key": "k".repeat(256) }, 400, "request.invalid", /255/],
    ["a compressed event", "1", { "content-encoding": "gzip" }, 415, "request.unsupported_media_type", /gzip/],
  ] as const)("refuses %s", async (_what, body, headers, status, code, detail) => {
    const response = await postEvent(world.first.url, client, pipeline, body, headers);
    expect(response.headers.get("content-type")).toBe("application/problem+json");
    const problem = (await response.json()) as { code: string; detail: string; status: number; type: string };
    expect([response.status, problem.code]).toEqual([status, code]);
    expect(problem.detail).toMatch(detail);
    expect(problem.type).toBe(`/docs/errors#${code}`);
  });

  it("refuses what does not match the input schema, with pointers", async () => {
    const strict = await makePipeline(world, client, {
      plan: { sinks: [], inputSchema: { type: "object", required: ["id"], properties: { price: { type: "number" } } } },
    });
    expect((await postEvent(world.first.url, client, strict.name, '{"id":1,"price":2}')).status).toBe(202);
    const response = await postEvent(world.first.url, client, strict.name, '{"id":1,"price":"2"}');
    expect(response.status).toBe(422);
    expect(await response.json()).toMatchObject({ code: "capture.schema_mismatch", errors: [{ pointer: "/price" }] });
  });

  it("checks again when another version was activated meanwhile", async () => {
    const { name, pipelineId } = await makePipeline(world, client, { plan: { sinks: [] } });
    expect((await postEvent(world.first.url, client, name, '{"a":1}')).status).toBe(202);
    // Without a notification: the statement itself must notice.
    await world.store
      .sql`insert into onedata.pipeline_versions (pipeline_id, version, hash, spec, plan) values (${pipelineId}, 2, 'h', '{}', ${'{"sinks":[],"inputSchema":{"required":["b"]}}'}::text::jsonb)`;
    await world.store.sql`update onedata.pipelines set active_version = 2 where id = ${pipelineId}`;
    const results = await Promise.all(['{"a":1}', '{"b":1}'].map((body) => postEvent(world.first.url, client, name, body)));
    expect(results.map((response) => response.status)).toEqual([422, 202]);
  });

  it("refuses unknown and deleting pipelines, and takes events of paused ones", async () => {
    const deleting = await makePipeline(world, client);
    expect((await postEvent(world.first.url, client, deleting.name, "1")).status).toBe(202);
    await world.store.sql`update onedata.pipelines set state = 'deleting' where id = ${deleting.pipelineId}`;
    const refused = await postEvent(world.first.url, client, deleting.name, "1");
    expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([404, "pipeline.deleting"]);
    for (const name of ["nothing-here", "No%20Name", "../x", "'; drop table"]) {
      const response = await postEvent(world.first.url, client, encodeURIComponent(name), "1");
      expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([404, "pipeline.not_found"]);
    }
    const paused = await makePipeline(world, client);
    await world.store.sql`update onedata.pipelines set state = 'paused' where id = ${paused.pipelineId}`;
    expect((await postEvent(world.first.url, client, paused.name, "1")).status).toBe(202);
  });

  it("says of a pipeline without an active version that one must be activated", async () => {
    const inactive = await makePipeline(world, client);
    await world.store.sql`update onedata.pipelines set active_version = null where id = ${inactive.pipelineId}`;
    const refused = await postEvent(world.first.url, client, inactive.name, "1");
    expect([refused.status, await refused.json()]).toMatchObject([
      409,
      { code: "pipeline.conflict", detail: expect.stringContaining(`POST /v1/pipelines/${inactive.name}:activate`) },
    ]);
    await world.store.sql`update onedata.pipelines set active_version = 1 where id = ${inactive.pipelineId}`;
    expect((await postEvent(world.first.url, client, inactive.name, "1")).status).toBe(202);
  });

  it("shows one tenant nothing of another", async () => {
    const other = await world.signIn();
    const response = await postEvent(world.first.url, other, pipeline, "1");
    expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([404, "pipeline.not_found"]);
  });

  it("puts events of one ordering key in one shard, in order", async () => {
    const ordered = await makePipeline(world, client, { ordering: "customer" });
    const ids: string[] = [];
    for (let i = 0; i < 6; i++)
      ids.push(await idOf(await postEvent(world.first.url, client, ordered.name, JSON.stringify({ customer: `c${i % 2}`, i }))));
    const rows = await world.store.sql<{ key: string; lanes: bigint }[]>`
      select e.ordering_key as key, count(distinct b.lane_id) as lanes from onedata.batches b join onedata.events e on e.batch_id = b.id
       where b.pipeline_id = ${ordered.pipelineId} group by 1 order by 1`;
    expect(rows.map((row) => [row.key, Number(row.lanes)])).toEqual([
      ["c0", 1],
      ["c1", 1],
    ]);
  });

  it("answers one invalid request among a hundred with 400 and the others with 202", async () => {
    const responses = await Promise.all(
      Array.from({ length: 100 }, (_, i) => postEvent(world.first.url, client, pipeline, i === 37 ? '{"broken":' : `{"i":${i}}`)),
    );
    expect(responses.map((response) => response.status)).toEqual(Array.from({ length: 100 }, (_, i) => (i === 37 ? 400 : 202)));
    const ids = new Set(await Promise.all(responses.filter((response) => response.status === 202).map(idOf)));
    expect(ids.size).toBe(99);
  });

  it("answers one idempotency key posted 200 times over two gateways with one id", async () => {
    const second = await world.openGateway();
    const responses = await Promise.all(
      Array.from({ length: 200 }, (_, i) =>
        postEvent(i % 2 === 0 ? world.first.url : second.url, client, pipeline, '{"order":7}', { "idempotency-key": "order-7" }),
      ),
    );
    const done = responses.filter((response) => response.status === 202);
    expect(await Promise.all(responses.filter((response) => response.status !== 202).map((response) => response.text()))).toEqual([]);
    const ids = new Set(await Promise.all(done.map(idOf)));
    expect(ids.size).toBe(1);
    const conflict = await postEvent(second.url, client, pipeline, '{"order":8}', { "idempotency-key": "order-7" });
    expect([conflict.status, ((await conflict.json()) as { code: string }).code]).toEqual([409, "capture.idempotency_conflict"]);
  });

  it("takes a first burst of one client at a gateway that has never seen it", async () => {
    const fresh = await world.openGateway();
    const statuses = await Promise.all(Array.from({ length: 150 }, async () => (await postEvent(fresh.url, client, pipeline, "1")).status));
    expect(new Set(statuses)).toEqual(new Set([202]));
  });

  it("refuses a query parameter, since it takes none", async () => {
    const answer = await fetch(`${world.first.url}/v1/pipelines/${pipeline}/events?wait=5`, { method: "POST", body: "1", headers: client.headers });
    expect([answer.status, await answer.json()]).toMatchObject([400, { code: "request.invalid", errors: [{ pointer: "/wait", code: "unknown" }] }]);
  });

  it("answers 429 with Retry-After above the tenant's rate, and above its backlog", async () => {
    const limited = await world.signIn();
    const { name } = await makePipeline(world, limited);
    expect((await postEvent(world.first.url, limited, name, "1")).status).toBe(202);
    await world.store.sql`update onedata.tenants set limits = '{"eventsPerSecond": 5}' where id = ${limited.tenantId}`;
    const burst = (): Promise<number[]> =>
      Promise.all(Array.from({ length: 40 }, async () => (await postEvent(world.first.url, limited, name, "1")).status));
    await waitFor(burst, (statuses) => statuses.includes(429) && statuses.includes(202));
    await world.store.sql`update onedata.tenants set limits = '{"backlogBytes": 10}' where id = ${limited.tenantId}`;
    const response = await waitFor(
      () => postEvent(world.first.url, limited, name, "1"),
      (answer) => answer.headers.get("retry-after") === "5",
    );
    expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([429, "capture.quota_exceeded"]);
    // Nobody else is touched.
    expect((await postEvent(world.first.url, client, pipeline, "1")).status).toBe(202);
  });
});
