import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { crc32, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makePipeline, openWorld, type TestClient, type TestGateway, type TestWorld, waitFor } from "../testing/world.ts";

type Answer = {
  id: string;
  state: string;
  accepted: number;
  rejected: number;
  code?: string;
  detail?: string;
  resumeFrom?: { byte: number; line: number };
};

describe("POST /v1/pipelines/{pipeline}/imports", () => {
  let world: TestWorld;
  let client: TestClient;
  beforeAll(async () => {
    world = await openWorld();
    client = await world.signIn();
  });
  afterAll(() => world[Symbol.asyncDispose]());

  const post = async (
    pipeline: string,
    body: string | Uint8Array,
    headers: Record<string, string> = {},
    query = "",
  ): Promise<{ status: number; body: Answer }> => {
    const response = await fetch(`${world.first.url}/v1/pipelines/${pipeline}/imports${query}`, {
      method: "POST",
      body,
      headers: { "content-type": "application/x-ndjson", ...client.headers, ...headers },
    });
    return { status: response.status, body: (await response.json()) as Answer };
  };
  const payloads = async (pipelineId: bigint): Promise<string[]> =>
    (
      await world.store.sql<
        { payload: string }[]
      >`select e.payload from onedata.batches b join onedata.events e on e.batch_id = b.id where b.pipeline_id = ${pipelineId} order by b.seq, e.n`
    ).map((row) => row.payload);
  const rejects = (): Promise<{ line: bigint; code: string }[]> =>
    world.store.sql`select line, code from onedata.import_rejects order by import_id desc, line`;

  it("captures every line in bulk lanes, in order, batches of at most 100", async () => {
    const { name, pipelineId } = await makePipeline(world, client);
    const lines = Array.from({ length: 10_250 }, (_, i) => `{"i": ${i}}`);
    const { status, body } = await post(name, lines.join("\n"));
    expect([status, body.accepted, body.rejected, body.state]).toEqual([202, 10_250, 0, "processing"]);
    expect(await payloads(pipelineId)).toEqual(lines);
    const [batches] = await world.store.sql<{ largest: number; classes: string }[]>`
      select max(b.n) as largest, string_agg(distinct l.class, ',') as classes from onedata.batches b join onedata.lanes l on l.id = b.lane_id where b.pipeline_id = ${pipelineId}`;
    expect(batches).toEqual({ largest: 100, classes: "bulk" });
  });

  it("reads CSV with quotes, a byte order mark and gzip, and rejects a line with too many fields", async () => {
    const { name, pipelineId } = await makePipeline(world, client);
    const csv = '\ufeffname;note\r\nAnna;"says ""hi"";\nand leaves"\r\nBo;a;b\r\nCy;\r\n';
    const { status, body } = await post(name, gzipSync(csv), { "content-type": "text/csv", "content-encoding": "gzip" });
    expect([status, body.accepted, body.rejected]).toEqual([202, 2, 1]);
    expect((await payloads(pipelineId)).map((text) => JSON.parse(text))).toEqual([
      { name: "Anna", note: 'says "hi";\nand leaves' },
      { name: "Cy", note: "" },
    ]);
    expect((await rejects())[0]).toMatchObject({ line: 4n });
  });

  it("reads CSV whose lines end with CR alone, and tells of a header line that nothing follows", async () => {
    const { name, pipelineId } = await makePipeline(world, client);
    const csv = { "content-type": "text/csv" };
    const { body } = await post(name, "id,name\r1,a\r2,b\r3,c\r", csv);
    expect([body.accepted, body.rejected]).toEqual([3, 0]);
    expect(await payloads(pipelineId)).toEqual(['{"id":"1","name":"a"}', '{"id":"2","name":"b"}', '{"id":"3","name":"c"}']);
    const alone = await post(name, "1,Ola\n", csv);
    expect([alone.status, alone.body.accepted, alone.body.rejected]).toEqual([202, 0, 1]);
    expect((await rejects())[0]).toMatchObject({ line: 1n, code: "import.row_malformed" });
  });

  it("reads a JSON array, and keeps broken and unfitting elements as rejected lines", async () => {
    const { name, pipelineId } = await makePipeline(world, client, { plan: { sinks: [], inputSchema: { required: ["a"] } } });
    const { body } = await post(name, '[\n{"a":12345678901234567890},\n{"b":1},\n{"a":},\n{"a":2}\n]', { "content-type": "application/json" });
    expect([body.accepted, body.rejected]).toEqual([2, 2]);
    expect(await payloads(pipelineId)).toEqual(['{"a":12345678901234567890}', '{"a":2}']);
    expect((await rejects()).slice(0, 2)).toEqual([
      { line: 3n, code: "capture.schema_mismatch" },
      { line: 4n, code: "capture.json_malformed" },
    ]);
  });

  it.each([
    ["another media type", "x", { "content-type": "image/png" }, "", 415, "request.unsupported_media_type"],
    ["an encoding it does not know", "x", { "content-encoding": "br" }, "", 415, "request.unsupported_media_type"],
    ["an empty body", "", {}, "", 400, "import.malformed"],
    ["what is no gzip", "hello", { "content-encoding": "gzip" }, "", 400, "import.malformed"],
    ["an array that is none", '{"a":1}', { "content-type": "application/json" }, "", 400, "import.malformed"],
    ["an unknown delimiter", "a#b", { "content-type": "text/csv" }, "?delimiter=%23", 400, "request.invalid"],
    ["a resume without its key", "x", {}, "?from=5&prefixHash=crc32:00000000", 400, "request.invalid"],
    ["a resume without a hash", "x", { "idempotency-key": "k" }, "?from=5", 400, "request.invalid"],
    ["a resume of nothing", "x", { "idempotency-key": "never-begun" }, "?from=5&prefixHash=crc32:00000000", 409, "import.conflict"],
    ["a parameter it does not know", "x", {}, "?dryRun=true", 400, "request.invalid"],
    ["a parameter given twice", "x", {}, "?name=a&name=b", 400, "request.invalid"],
    ["a question about nothing", "", { "idempotency-key": "never-asked" }, "", 404, "import.not_found"],
  ] as const)("refuses %s", async (_what, body, headers, query, status, code) => {
    const { name } = await makePipeline(world, client);
    const answer = await post(name, body, headers, query);
    expect([answer.status, answer.body.code]).toEqual([status, code]);
  });

  it("keeps unknown pipelines, other tenants and missing scopes out", async () => {
    const { name } = await makePipeline(world, client);
    expect((await post("nothing-here", "1")).body.code).toBe("pipeline.not_found");
    const other = await world.signIn();
    expect((await post(name, "1", other.headers)).body.code).toBe("pipeline.not_found");
    const reader = await world.signIn({ scopes: ["events:read"] });
    expect((await post(name, "1", reader.headers)).status).toBe(403);
  });

  /** Sends the beginning of a body, waits until `seen` of it is committed, and breaks the connection. */
  const cutOff = async (
    gateway: TestGateway,
    pipeline: { name: string; pipelineId: bigint },
    key: string,
    text: string,
    headers: Record<string, string> = {},
  ): Promise<void> => {
    const request = httpRequest(`${gateway.url}/v1/pipelines/${pipeline.name}/imports`, {
      method: "POST",
      headers: { "content-type": "application/x-ndjson", "idempotency-key": key, ...client.headers, ...headers },
    });
    request.on("error", () => undefined);
    request.write(text);
    await waitFor(
      () => world.store.sql<{ accepted: bigint }[]>`select accepted from onedata.imports where idempotency_key = ${key} and accepted > 0`,
      (rows) => rows.length === 1,
    );
    request.destroy();
    await waitFor(
      () => world.store.sql<{ state: string }[]>`select state from onedata.imports where idempotency_key = ${key}`,
      (rows) => rows[0]?.state === "interrupted",
    );
  };

  it("goes on behind what was committed when an import was cut off, and neither doubles nor loses a line", async () => {
    const pipeline = await makePipeline(world, client);
    const lines = Array.from({ length: 9_000 }, (_, i) => JSON.stringify({ i, text: "ø".repeat(i % 7) }));
    const whole = Buffer.from(lines.join("\n"));
    await cutOff(world.first, pipeline, "cut-1", whole.toString("utf8", 0, 120_000));
    const place = await post(pipeline.name, "", { "idempotency-key": "cut-1" });
    expect([place.status, place.body.state]).toEqual([200, "interrupted"]);
    const { byte, line } = place.body.resumeFrom ?? { byte: -1, line: -1 };
    expect(byte).toBeGreaterThan(0);
    expect(whole.subarray(0, byte).filter((b) => b === 10).length).toBe(line);
    const hash = `crc32:${crc32(whole.subarray(0, byte)).toString(16).padStart(8, "0")}`;
    const wrong = await post(pipeline.name, whole.subarray(byte), { "idempotency-key": "cut-1" }, `?from=${byte}&prefixHash=crc32:deadbeef`);
    expect([wrong.status, wrong.body.code]).toEqual([409, "import.conflict"]);
    const rest = await post(pipeline.name, whole.subarray(byte), { "idempotency-key": "cut-1" }, `?from=${byte}&prefixHash=${hash}`);
    expect([rest.status, rest.body.accepted]).toEqual([202, 9_000]);
    expect(await payloads(pipeline.pipelineId)).toEqual(lines);
  });

  it("takes the whole body again, reads past what is committed, and refuses another body", async () => {
    const pipeline = await makePipeline(world, client);
    const csv = `id,text\n${Array.from({ length: 7_000 }, (_, i) => `${i},"line\n${i}"`).join("\n")}\n`;
    await cutOff(world.first, pipeline, "cut-2", csv.slice(0, 90_000), { "content-type": "text/csv" });
    const other = await post(pipeline.name, csv.replace("id,text", "id,tent"), { "idempotency-key": "cut-2", "content-type": "text/csv" });
    expect([other.status, other.body.code]).toEqual([409, "import.conflict"]);
    const again = await post(pipeline.name, csv, { "idempotency-key": "cut-2", "content-type": "text/csv" });
    expect([again.status, again.body.accepted, again.body.rejected]).toEqual([202, 7_000, 0]);
    const third = await post(pipeline.name, csv, { "idempotency-key": "cut-2", "content-type": "text/csv" });
    expect([third.status, third.body.id, third.body.accepted]).toEqual([202, again.body.id, 7_000]);
    expect((await payloads(pipeline.pipelineId)).map((text) => (JSON.parse(text) as { id: string }).id)).toEqual(
      Array.from({ length: 7_000 }, (_, i) => String(i)),
    );
    const longer = await post(pipeline.name, `${csv}7000,more\n`, { "idempotency-key": "cut-2", "content-type": "text/csv" });
    expect([longer.status, longer.body.code]).toEqual([409, "import.conflict"]);
  });

  it("keeps ten thousand of the rejected lines, counts on, and goes on as long as something is accepted", async () => {
    const { name } = await makePipeline(world, client);
    const bad = "[\n".repeat(120_000);
    const { status, body } = await post(name, gzipSync(`1\n${bad}2\n`), { "content-encoding": "gzip" });
    expect([status, body.accepted, body.rejected]).toEqual([202, 2, 120_000]);
    const [kept] = await world.store.sql<
      { n: number }[]
    >`select count(*)::int as n from onedata.import_rejects r join onedata.imports i on i.id = r.import_id where i.rejected = 120000`;
    expect(kept?.n).toBe(10_000);
  });

  it("stops an import whose first hundred thousand lines are all rejected, and says what to look at", async () => {
    const { name } = await makePipeline(world, client);
    const { status, body } = await post(name, gzipSync("[\n".repeat(3_000_000)), { "content-encoding": "gzip", "idempotency-key": "all-bad" });
    expect([status, body.code]).toEqual([400, "import.malformed"]);
    expect(body.detail).toMatch(/^the first \d+ lines are all rejected, so the rest is not read/);
    const [row] = await world.store.sql<{ state: string; reason: string; rejected: bigint }[]>`
      select state, reason, rejected from onedata.imports where idempotency_key = 'all-bad'`;
    expect(row).toMatchObject({ state: "failed", reason: body.detail });
    expect(Number(row?.rejected)).toBeLessThan(200_000);
  });

  it("keeps a bounded piece of a JSON array in one line, one row for all of its rejected elements", async () => {
    const { name } = await makePipeline(world, client, { plan: { sinks: [], inputSchema: { required: ["x".repeat(3_000)] } } });
    const array = `[${Array.from({ length: 50 }, (_, i) => JSON.stringify({ i, text: "y".repeat(20_000) })).join(",")}]`;
    const { body } = await post(name, array, { "content-type": "application/json", "idempotency-key": "one-line" });
    expect([body.accepted, body.rejected]).toEqual([0, 50]);
    const rows = await world.store.sql<{ raw: string; message: string }[]>`
      select r.raw, r.message from onedata.import_rejects r join onedata.imports i on i.id = r.import_id where i.idempotency_key = 'one-line'`;
    expect(rows.length).toBe(1);
    expect(rows[0]?.message).toMatch(/\(and 49 more elements of this line\)$/);
    expect((rows[0]?.raw.length ?? 0) + (rows[0]?.message.length ?? 0)).toBeLessThan(7_000);
  });

  it("lets two uploads of one key write each line once", async () => {
    const pipeline = await makePipeline(world, client);
    const second = await world.openGateway();
    const lines = Array.from({ length: 20_000 }, (_, i) => `{"i":${i}}`);
    const send = async (url: string): Promise<number> =>
      (
        await fetch(`${url}/v1/pipelines/${pipeline.name}/imports`, {
          method: "POST",
          body: lines.join("\n"),
          headers: { "content-type": "application/x-ndjson", "idempotency-key": "race", ...client.headers },
        })
      ).status;
    const statuses = await Promise.all([send(world.first.url), send(second.url)]);
    expect(statuses.every((status) => status === 202 || status === 409)).toBe(true);
    if (!statuses.includes(202)) expect(await send(world.first.url)).toBe(202);
    expect(await payloads(pipeline.pipelineId)).toEqual(lines);
  });

  it("checks the open chunk again when a version is activated while it is read", async () => {
    const pipeline = await makePipeline(world, client, { plan: { sinks: [] } });
    await post(pipeline.name, '{"warm":1}');
    await world.store
      .sql`insert into onedata.pipeline_versions (pipeline_id, version, hash, spec, plan) values (${pipeline.pipelineId}, 2, 'h', '{}', ${'{"sinks":[],"inputSchema":{"required":["b"]}}'}::text::jsonb)`;
    await world.store.sql`update onedata.pipelines set active_version = 2 where id = ${pipeline.pipelineId}`;
    const { body } = await post(pipeline.name, '{"a":1}\n{"b":2}');
    expect([body.accepted, body.rejected]).toEqual([1, 1]);
  });

  it("stops taking lines when the import is cancelled", async () => {
    const pipeline = await makePipeline(world, client);
    const request = httpRequest(`${world.first.url}/v1/pipelines/${pipeline.name}/imports`, {
      method: "POST",
      headers: { "content-type": "application/x-ndjson", "idempotency-key": "cancel-me", ...client.headers },
    });
    const answered = once(request, "response");
    request.write(`${Array.from({ length: 100 }, (_, i) => `{"i":${i}}`).join("\n")}\n`);
    await waitFor(
      () => world.store.sql`select 1 from onedata.imports where idempotency_key = 'cancel-me' and accepted = 100`,
      (rows) => rows.length === 1,
    );
    await world.store.sql`update onedata.imports set state = 'cancelled' where idempotency_key = 'cancel-me'`;
    request.end('{"i":100}\n');
    const [response] = (await answered) as [{ statusCode: number; resume(): void }];
    response.resume();
    expect(response.statusCode).toBe(409);
    expect((await payloads(pipeline.pipelineId)).length).toBe(100);
  });
});
