import { request as httpRequest } from "node:http";
import { readContract } from "@onedata/contracts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRestFacade } from "./facade.ts";
import { type Backend, createBackend, type Gateway, openGateway, PAYLOAD, token } from "./test-backend.ts";

let backend: Backend;
let gateway: Gateway;
const READ = token(1, "pipelines:read", "events:read");
const WRITE = token(1, "pipelines:read", "pipelines:write", "lookups:write");

beforeAll(async () => {
  backend = createBackend();
  gateway = await openGateway([createRestFacade({ contract: readContract(), ...backend })]);
});
afterAll(async () => gateway[Symbol.asyncDispose]());

type Answer = { status: number; headers: Headers; text: string; json: Record<string, unknown> };

async function call(
  method: string,
  path: string,
  { auth = WRITE, headers = {}, body }: { auth?: string; headers?: Record<string, string>; body?: string | Uint8Array } = {},
): Promise<Answer> {
  const response = await fetch(gateway.url + path, {
    method,
    headers: { ...(auth === "" ? {} : { authorization: auth }), ...headers },
    ...(body === undefined ? {} : { body }),
  });
  const text = await response.text();
  const type = response.headers.get("content-type") ?? "";
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: type.includes("json") && !type.includes("ndjson") && text !== "" ? JSON.parse(text) : {},
  };
}

const yaml = { "content-type": "application/yaml" };
const json = { "content-type": "application/json" };
const put = (name: string, auth = WRITE, headers: Record<string, string> = {}): Promise<Answer> =>
  call("PUT", `/v1/pipelines/${name}`, { auth, headers: { ...yaml, ...headers }, body: `name: ${name}\nsteps: []\n` });

describe("documents", () => {
  it("hands a YAML body and its media type to the method, with the query's options", async () => {
    const answer = await call("PUT", "/v1/pipelines/orders?dryRun=true&activate=false", {
      headers: { "content-type": "text/yaml; charset=utf-8" },
      body: "name: orders\n# Zoë\n",
    });
    expect(answer.status).toBe(200);
    expect(answer.json).toMatchObject({ version: 1, dryRun: true, pipeline: { name: "orders", createdAt: "1970-01-01T00:00:00Z" } });
    expect(backend.seen.at(-1)?.request).toMatchObject({
      pipeline: "orders",
      document: "name: orders\n# Zoë\n",
      mediaType: "application/yaml",
      dryRun: true,
      activate: false,
    });
  });

  it("shows raw JSON digit for digit", async () => {
    const answer = await put("exact");
    expect(answer.text).toContain('"before":1.10,"after":12345678901234567890');
    expect((await call("GET", "/v1/events/evt_1", { auth: READ })).text).toContain(`"payload":${PAYLOAD}`);
    expect((await call("GET", "/v1/pipelines/orders/outputs", { auth: READ })).text).toContain(`"record":${PAYLOAD}`);
  });

  it("takes raw JSON digit for digit", async () => {
    const answer = await call("POST", "/v1/pipelines/orders:preview", {
      auth: READ,
      headers: json,
      body: `{"last":2, "records": [ ${PAYLOAD}, 1.0 ] }`,
    });
    expect(backend.seen.at(-1)?.request).toMatchObject({ pipeline: "orders", last: 2, records: [PAYLOAD, "1.0"] });
    expect(answer.text).toContain(`"input":${PAYLOAD}`);
  });

  it("refuses other media types with 415 and names those it takes", async () => {
    const answer = await call("PUT", "/v1/pipelines/orders", { headers: { "content-type": "text/plain" }, body: "x" });
    expect(answer.status).toBe(415);
    expect(answer.json).toMatchObject({
      code: "request.unsupported_media_type",
      detail: expect.stringContaining("application/json, application/yaml"),
    });
    expect((await call("PUT", "/v1/pipelines/orders", { headers: { "content-type": "application/yaml; charset=latin1" }, body: "x" })).status).toBe(
      415,
    );
    expect((await call("PUT", "/v1/pipelines/orders", { headers: { ...yaml, "content-encoding": "gzip" }, body: "x" })).status).toBe(415);
  });

  it("takes a document of bytes", async () => {
    const answer = await call("PUT", "/v1/lookups/countries", { headers: { "content-type": "text/csv" }, body: "code,name\nNO,Norge\n" });
    expect(answer.json).toMatchObject({ name: "countries", columns: ["text/csv"] });
    expect(
      (await call("PUT", "/v1/lookups/countries", { headers: { "content-type": "text/csv" }, body: new Uint8Array(3_145_729) })).json,
    ).toMatchObject({ code: "request.invalid", errors: [{ pointer: "" }] });
    expect((await call("PUT", "/v1/lookups/countries", { headers: { "content-type": "text/csv" }, body: new Uint8Array(3_700_000) })).status).toBe(
      413,
    );
  });

  it("relays a backend's problems with their pointers", async () => {
    const answer = await call("PUT", "/v1/pipelines/orders", { headers: yaml, body: "nonsense" });
    expect(answer.status).toBe(422);
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    expect(answer.json).toMatchObject({
      code: "pipeline.invalid",
      type: "/docs/errors#pipeline.invalid",
      errors: [{ pointer: "/steps/0/use", code: "operation.not_found" }, { pointer: "/sinks/0" }],
    });
  });
});

describe("bodies, paths and queries", () => {
  it("refuses an unknown field with its pointer and the nearest name", async () => {
    const answer = await call("POST", "/v1/pipelines/orders:pause", { headers: json, body: '{"raeson":"x"}' });
    expect(answer.status).toBe(400);
    expect(answer.json).toMatchObject({
      code: "request.invalid",
      errors: [{ pointer: "/raeson", code: "unknown", detail: expect.stringContaining('did you mean "reason"') }],
    });
  });

  it("reports all wrong types at once", async () => {
    const answer = await call("POST", "/v1/pipelines/orders:activate", { headers: json, body: '{"version":"x","pipeline":7}' });
    expect(answer.json["errors"]).toEqual([
      { pointer: "/version", code: "type", detail: 'must be an integer from 0 to 4294967295; got "x"' },
      { pointer: "/pipeline", code: "type", detail: "must be a string; got 7" },
    ]);
  });

  it("checks the contract's rules", async () => {
    const answer = await call("POST", "/v1/pipelines/Orders:activate", { headers: json, body: '{"version":0}' });
    expect(answer.status).toBe(400);
    expect(answer.json["errors"]).toMatchObject([
      { pointer: "/pipeline", code: "string.pattern" },
      { pointer: "/version", code: "uint32.gte" },
    ]);
  });

  it("takes an empty body for a message without required fields, and refuses a path that the body contradicts", async () => {
    await put("orders");
    expect((await call("POST", "/v1/pipelines/orders:pause")).json).toMatchObject({ state: "paused" });
    const answer = await call("POST", "/v1/pipelines/orders:pause", { headers: json, body: '{"pipeline":"other"}' });
    expect(answer.json).toMatchObject({ errors: [{ pointer: "/pipeline", code: "conflict" }] });
  });

  it("refuses malformed JSON, wrong encodings, non-objects and forms", async () => {
    const post = (body: string | Uint8Array, headers: Record<string, string> = json): Promise<Answer> =>
      call("POST", "/v1/pipelines/orders:pause", { headers, body });
    expect((await post('{"reason":')).json).toMatchObject({
      status: 400,
      code: "request.malformed",
      detail: expect.stringContaining("line 1, column 11"),
    });
    expect((await post(new Uint8Array([0x7b, 0xff]))).json).toMatchObject({
      status: 400,
      code: "request.malformed",
      detail: expect.stringContaining("UTF-8"),
    });
    expect((await post("[]")).json).toMatchObject({ status: 400, code: "request.invalid" });
    expect((await post("reason=x", { "content-type": "application/x-www-form-urlencoded" })).status).toBe(415);
  });

  it("reads repeated and typed query parameters and refuses unknown ones", async () => {
    expect((await call("GET", "/v1/pipelines/orders/events?since=2026-01-31T12:00:00Z&pageSize=5", { auth: READ })).status).toBe(200);
    expect((await call("GET", "/v1/pipelines?pagesize=5")).json).toMatchObject({
      status: 400,
      errors: [{ pointer: "/pagesize", detail: expect.stringContaining('did you mean "pageSize"') }],
    });
    expect((await call("GET", "/v1/pipelines?pageSize=5&pageSize=6")).json).toMatchObject({ errors: [{ code: "duplicate" }] });
    expect((await call("GET", "/v1/pipelines?pageSize=2000")).json).toMatchObject({ errors: [{ pointer: "/pageSize", code: "uint32.lte" }] });
    expect((await call("GET", "/v1/pipelines/orders/events?since=yesterday", { auth: READ })).json).toMatchObject({
      errors: [{ pointer: "/since", detail: expect.stringContaining("RFC 3339") }],
    });
    expect((await call("DELETE", "/v1/pipelines/orders?discard=yes")).json).toMatchObject({
      errors: [{ pointer: "/discard", detail: 'must be true or false; got "yes"' }],
    });
  });

  it("decodes path variables once and refuses broken escapes", async () => {
    expect((await call("GET", "/v1/events/evt%2F%25x", { auth: READ })).json).toMatchObject({ id: "evt/%x" });
    expect((await call("GET", "/v1/events/%E0%A4", { auth: READ })).json).toMatchObject({ status: 400, code: "request.malformed" });
  });
});

describe("routes", () => {
  it("answers 404 with the nearest route", async () => {
    expect((await call("GET", "/v1/pipeline/orders")).json).toMatchObject({
      status: 404,
      code: "route.not_found",
      detail: expect.stringContaining('did you mean "/v1/pipelines/orders"'),
    });
    expect((await call("POST", "/v1/pipelines/orders:activte")).json).toMatchObject({
      detail: expect.stringContaining('did you mean "/v1/pipelines/orders:activate"'),
    });
  });

  it("answers 405 with Allow, also for hand-written routes, and OPTIONS", async () => {
    const answer = await call("PATCH", "/v1/pipelines/orders");
    expect(answer.status).toBe(405);
    expect(answer.headers.get("allow")).toBe("PUT, GET, HEAD, DELETE, OPTIONS");
    expect((await call("PUT", "/v1/pipelines/orders/imports")).headers.get("allow")).toBe("POST, OPTIONS");
    const options = await call("OPTIONS", "/v1/pipelines", { auth: "" });
    expect([options.status, options.headers.get("allow")]).toEqual([204, "GET, HEAD, OPTIONS"]);
  });

  it("leaves hand-written routes to others", async () => {
    expect((await call("POST", "/v1/pipelines/orders/imports")).json).toMatchObject({ detail: "no face has this route" });
  });

  it("answers HEAD with the headers of GET", async () => {
    const [get, head] = [await call("GET", "/v1/pipelines"), await call("HEAD", "/v1/pipelines")];
    expect([head.status, head.text, head.headers.get("etag"), head.headers.get("content-length")]).toEqual([
      200,
      "",
      get.headers.get("etag"),
      get.headers.get("content-length"),
    ]);
  });

  it("says so where a workload is not deployed", async () => {
    expect((await call("GET", "/v1/operations")).json).toMatchObject({ status: 503, code: "service.unavailable" });
  });
});

describe("identity", () => {
  it("answers 401 without a token and 403 without a scope", async () => {
    const anonymous = await call("GET", "/v1/pipelines", { auth: "" });
    expect(anonymous.status).toBe(401);
    expect(anonymous.headers.get("www-authenticate")).toContain("Bearer");
    const poor = await put("orders", READ);
    expect(poor.json).toMatchObject({
      status: 403,
      code: "auth.scope_missing",
      error: "insufficient_scope",
      detail: expect.stringContaining("pipelines:write"),
    });
  });

  it("keeps tenants apart and tells the service who acts", async () => {
    await put("mine");
    expect((await call("GET", "/v1/pipelines/mine")).status).toBe(200);
    expect((await call("GET", "/v1/pipelines/mine", { auth: token(2, "pipelines:read") })).json).toMatchObject({
      status: 404,
      code: "pipeline.not_found",
    });
    const { context, tenant } = backend.seen.at(-1) ?? {};
    expect([tenant, context?.principal, context?.caller]).toEqual([1n, "Zoë of 1", "gateway"]);
  });

  it("passes Idempotency-Key and trace context on", async () => {
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    await put("orders", WRITE, { "idempotency-key": "k-1", traceparent });
    expect(backend.seen.at(-1)?.context).toMatchObject({ traceparent, metadata: { "idempotency-key": "k-1" } });
    expect((await put("orders", WRITE, { "idempotency-key": "a b" })).status).toBe(400);
  });

  it("never shows the text of an unknown error", async () => {
    const answer = await call("GET", "/v1/pipelines/orders/stats");
    expect(answer.json).toMatchObject({ status: 500, code: "internal", instance: expect.any(String) });
    expect(answer.text).not.toContain("nobody outside may read");
  });
});

describe("conditions and pages", () => {
  it("answers 304 to the etag it gave", async () => {
    await put("cached");
    const first = await call("GET", "/v1/pipelines/cached");
    const etag = first.headers.get("etag") ?? "";
    expect(etag).toBe('"v1"');
    const again = await call("GET", "/v1/pipelines/cached", { headers: { "if-none-match": `"x", W/${etag}` } });
    expect([again.status, again.text, again.headers.get("etag")]).toEqual([304, "", etag]);
    expect((await call("GET", "/v1/pipelines/cached", { headers: { "if-none-match": '"v0"' } })).status).toBe(200);
  });

  it("answers 412 when the resource has changed, and refuses If-Match where nothing checks it", async () => {
    await put("guarded");
    expect((await put("guarded", WRITE, { "if-match": '"v1"' })).status).toBe(200);
    expect((await put("guarded", WRITE, { "if-match": '"v1"' })).json).toMatchObject({ status: 412, code: "request.precondition_failed" });
    expect((await call("DELETE", "/v1/pipelines/guarded", { headers: { "if-match": '"v1"' } })).status).toBe(400);
  });

  it("links the next page", async () => {
    const auth = token(3, "pipelines:read", "pipelines:write");
    for (const name of ["a", "b", "c"]) await put(name, auth);
    const first = await call("GET", "/v1/pipelines?pageSize=2", { auth });
    const next = /^<(.+)>; rel="next"$/.exec(first.headers.get("link") ?? "")?.[1] ?? "";
    const second = await call("GET", next, { auth });
    expect([next, second.headers.get("link"), second.json["pipelines"]]).toEqual([
      "/v1/pipelines?pageSize=2&pageToken=2",
      null,
      [expect.objectContaining({ name: "c" })],
    ]);
  });
});

describe("streams", () => {
  const tail = (pipeline: string): Promise<Answer> => call("GET", `/v1/pipelines/${pipeline}/events:tail`, { auth: READ });

  it("sends one line per message, exact and unbroken", async () => {
    const answer = await tail("orders");
    expect(answer.headers.get("content-type")).toBe("application/x-ndjson");
    const lines = answer.text.trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line).id)).toEqual(["evt_0", "evt_1", "evt_2"]);
    expect(lines[0]).toMatch(/"payload":\{\s*"big": 12345678901234567890 \}/);
  });

  it("answers HEAD without opening the stream", async () => {
    const answer = await call("HEAD", "/v1/pipelines/quiet/events:tail", { auth: READ });
    expect([answer.status, answer.headers.get("content-type"), answer.text]).toEqual([200, "application/x-ndjson", ""]);
  });

  it("shows its headers while nothing comes", async () => {
    const leave = new AbortController();
    const answer = await fetch(`${gateway.url}/v1/pipelines/silent/events:tail`, { headers: { authorization: READ }, signal: leave.signal });
    expect(answer.status).toBe(200);
    leave.abort();
  });

  it("answers a problem when it fails before the first line", async () => {
    expect((await tail("gone")).json).toMatchObject({ status: 404, code: "pipeline.not_found" });
  });

  it("ends with a problem line and a cut connection when it fails later", async () => {
    const { text, complete } = await readRaw("broken");
    expect(complete).toBe(false);
    expect(JSON.parse(text.trimEnd().split("\n").at(-1) ?? "")).toMatchObject({ problem: { code: "store.unavailable" } });
  });

  it("waits for a slow reader and stops when the reader leaves", async () => {
    const request = httpRequest(`${gateway.url}/v1/pipelines/endless/events:tail`, { headers: { authorization: READ } }).end();
    await new Promise<void>((resolve) => {
      request.on("response", (response) => {
        response.pause();
        resolve();
      });
    });
    let before = -1;
    while (before !== backend.produced()) {
      before = backend.produced();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    // Socket buffers take some megabytes; the stream would be 800 MB.
    expect(before).toBeLessThan(20_000);
    request.destroy();
    await backend.tailAborted;
  });

  function readRaw(pipeline: string): Promise<{ text: string; complete: boolean }> {
    return new Promise((resolve, reject) => {
      const request = httpRequest(`${gateway.url}/v1/pipelines/${pipeline}/events:tail`, { headers: { authorization: READ } }, (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.on("error", () => {});
        response.on("close", () => resolve({ text, complete: response.complete }));
      });
      request.on("error", reject).end();
    });
  }
});
