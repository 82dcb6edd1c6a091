/** The clumsy and the hostile user: each mistake is answered with what to do, and a good neighbour notices nothing. */
import { readFileSync } from "node:fs";
import { connect as connectSocket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Answer, Api } from "../world/api.ts";
import { waitFor } from "../world/wait-for.ts";
import { openWorld, type World } from "../world/world.ts";

let world: World;
let api: Api;
beforeAll(async () => {
  world = await openWorld("solo");
  api = world.api;
});
afterAll(() => world?.[Symbol.asyncDispose]());

const EVENTS = "/v1/pipelines/orders/events";
const good = (id: string) => ({ id, price: 1, quantity: 1 });

/** A problem a person can act on. */
function expectProblem(answer: Answer, status: number, code: string): void {
  expect([answer.status, answer.json?.code, answer.headers.get("content-type")]).toEqual([status, code, "application/problem+json"]);
  expect(answer.json.detail.length).toBeGreaterThan(10);
}

async function put(name: string, spec: object): Promise<Answer> {
  return api.send("PUT", `/v1/pipelines/${name}`, { name, ...spec });
}

/** What stands on the connection until it closes, or until `enough` does. */
function sendRaw(text: string, enough: (received: string) => boolean): Promise<string> {
  const { hostname, port } = new URL(world.url);
  return new Promise((resolve, reject) => {
    let received = "";
    const socket = connectSocket({ host: hostname, port: Number(port) }, () => socket.write(text));
    socket.setEncoding("utf8");
    socket.on("data", (chunk) => {
      received += chunk;
      if (enough(received)) socket.destroy();
    });
    socket.on("error", reject);
    socket.on("close", () => resolve(received));
  });
}

describe("events", () => {
  it.each<[string, string | Uint8Array, number, string]>([
    ["JSON that ends early", '{"a":', 400, "capture.json_malformed"],
    ["nothing", "", 400, "capture.json_malformed"],
    ["invalid UTF-8", new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]), 400, "capture.utf8_invalid"],
    ["a hundred thousand brackets", "[".repeat(100_000), 400, "capture.json_malformed"],
    ["a member of the wrong type", '{"id":1,"price":"x","quantity":1}', 422, "capture.schema_mismatch"],
    ["a megabyte", JSON.stringify(good("x".repeat(1_000_000))), 413, "request.too_large"],
  ])("are refused for %s", async (_, body, status, code) => {
    expectProblem(await api.send("POST", EVENTS, body), status, code);
  });

  it("point to the member at fault", async () => {
    const { json } = await api.send("POST", EVENTS, { id: 1, price: "x", quantity: 1 });
    expect(json.errors).toMatchObject([{ pointer: "/price", code: "type" }]);
  });

  it("are refused one by one: one bad among a hundred at once", async () => {
    const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => api.send("POST", EVENTS, i === 50 ? '{"id":' : good(`h${i}`))));
    expect(answers.filter(({ status }) => status === 202)).toHaveLength(99);
    expect(answers[50]?.status).toBe(400);
  });
});

describe("the connection", () => {
  const bearer = (): string => `Host: x\r\nAuthorization: Bearer ${api.token}\r\n`;
  const hasProblem = (received: string): boolean => received.endsWith("}");

  it("answers what is no HTTP, has no Host, expects the unknown, or wants a proxy", async () => {
    expect(await sendRaw("\x16\x03\x01garbage", hasProblem)).toMatch(/^HTTP\/1.1 400 .*request\.malformed/s);
    expect(await sendRaw("GET /healthz HTTP/1.1\r\n\r\n", hasProblem)).toMatch(/^HTTP\/1.1 400 .*Host is missing/s);
    expect(await sendRaw(`POST ${EVENTS} HTTP/1.1\r\n${bearer()}Expect: pony\r\nContent-Length: 2\r\n\r\n{}`, hasProblem)).toMatch(
      /^HTTP\/1.1 400 .*Expect/s,
    );
    expect(await sendRaw("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", hasProblem)).toMatch(/^HTTP\/1.1 405 .*method_not_allowed/s);
  });

  it.each([
    ["an empty Idempotency-Key", "Idempotency-Key: ", 400, "Idempotency-Key is empty"],
    ["two of them", "Idempotency-Key: a\r\nIdempotency-Key: b", 400, "given more than once"],
    ["one that is too long", `Idempotency-Key: ${"k".repeat(256)}`, 400, "has 256 characters"],
    ["JSON in another charset", "Content-Type: application/json; charset=latin1", 415, "send UTF-8"],
  ])("refuses %s, whoever reads the connection", async (_, header, status, said) => {
    const post = `POST ${EVENTS} HTTP/1.1\r\n${bearer()}${header}\r\nContent-Length: 33\r\n\r\n{"id":"a","price":1,"quantity":1}`;
    // Begun with another request, the connection is node's.
    for (const before of ["", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"]) {
      const answers = before === "" ? 1 : 2;
      const received = await sendRaw(before + post, (text) => (text.match(/HTTP\/1.1 /g) ?? []).length === answers && text.endsWith("}"));
      const answer = received.slice(received.lastIndexOf("HTTP/1.1 "));
      expect([answer.slice(9, 12), answer]).toEqual([String(status), expect.stringContaining(said)]);
    }
  });

  it("refuses codings of the transfer but chunked", async () => {
    const chunks = '21\r\n{"id":"a","price":1,"quantity":1}\r\n0\r\n\r\n';
    const post = (coding: string): Promise<string> =>
      sendRaw(`POST ${EVENTS} HTTP/1.1\r\n${bearer()}Transfer-Encoding: ${coding}\r\n\r\n${chunks}`, (text) => text.endsWith("}"));
    expect(await post("gzip, chunked")).toMatch(/^HTTP\/1.1 400 .*Transfer-Encoding.*send chunked alone/s);
    expect(await post("chunked")).toMatch(/^HTTP\/1.1 202 /);
  });

  it("answers pipelined requests in their order, a bad one between good ones", async () => {
    const post = (body: string) => `POST ${EVENTS} HTTP/1.1\r\n${bearer()}Content-Length: ${body.length}\r\n\r\n${body}`;
    const received = await sendRaw(
      post('{"id":"a","price":1,"quantity":1}') + post("{") + post('{"id":"b","price":1,"quantity":1}'),
      (text) => (text.match(/HTTP\/1.1 /g) ?? []).length === 3,
    );
    expect([...received.matchAll(/HTTP\/1.1 (\d+)/g)].map(([, status]) => status)).toEqual(["202", "400", "202"]);
  });

  it("is cut when a refused body goes on and on, and the server lives", async () => {
    const received = await sendRaw(`POST ${EVENTS} HTTP/1.1\r\n${bearer()}Content-Length: 900000000\r\n\r\n`, () => false);
    expect(received).toMatch(/^HTTP\/1.1 413 /);
    await sendRaw(`POST /v1/clients HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\n`, (text) => text.includes("401"));
    expect((await fetch(`${world.url}/healthz`)).status).toBe(200);
  });
});

describe("specs", () => {
  const map = (set: object) => ({ use: "record.map", with: { set } });
  it.each<[string, object, string, string]>([
    ["an unknown operation", { steps: [{ id: "a", use: "record.mapp" }] }, "/steps/0/use", "spec.unknown_operation"],
    ["an unknown member of a config", { steps: [{ id: "a", use: "record.map", with: { sett: {} } }] }, "/steps/0/with/sett", "additionalProperties"],
    ["an expression that does not end", { steps: [{ id: "a", ...map({ x: "1 +" }) }] }, "/steps/0/with/set/x", "jsonata"],
    [
      "a cycle",
      {
        steps: [
          { id: "a", ...map({ x: "1" }), needs: ["b"] },
          { id: "b", ...map({ x: "1" }), needs: ["a"] },
        ],
      },
      "/steps/0/needs",
      "spec.cycle",
    ],
    [
      "a step nobody reads",
      {
        steps: [
          { id: "a", ...map({ x: "1" }) },
          { id: "b", ...map({ y: "1" }), needs: [] },
        ],
        sinks: [{ use: "onedata.outputs", from: ["a"] }],
      },
      "/steps/1",
      "spec.unreachable",
    ],
    [
      "a table that is missing",
      { sinks: [{ use: "postgres.insert", with: { connection: "warehouse", table: "nope" } }] },
      "/sinks/0/with/table",
      "config.invalid",
    ],
    ["a private address", { sinks: [{ use: "http.post", with: { url: "http://2130706433/" } }] }, "/sinks/0/with/url", "network.address_refused"],
    [
      "a pattern no linear engine runs",
      { input: { schema: { properties: { x: { pattern: "(?=a)b" } } } } },
      "/input/schema/properties/x/pattern",
      "pattern",
    ],
  ])("are refused for %s, with the place in the document", async (_, spec, pointer, code) => {
    const answer = await put("wrong", spec);
    expectProblem(answer, 422, "pipeline.invalid");
    expect(answer.json.errors).toContainEqual(expect.objectContaining({ pointer, code }));
  });

  it("are refused as YAML that explodes, nests, or is several", async () => {
    const bomb = [
      "a: &a [x,x,x,x,x,x,x,x,x]",
      ..."bcdefghi".split("").map((name, i) => `${name}: &${name} [${Array(9).fill(`*${"abcdefgh"[i]}`).join(",")}]`),
    ].join("\n");
    for (const [text, code] of [
      [bomb, "spec.too_large"],
      ["[".repeat(5_000), "spec.too_deep"],
      ["---\nname: x\n---\nname: x\n", "spec.malformed"],
    ] as const) {
      const answer = await api.send("PUT", "/v1/pipelines/x", text, { "content-type": "application/yaml" });
      expectProblem(answer, 422, "pipeline.invalid");
      expect(answer.json.errors[0].code).toBe(code);
    }
  });
});

describe("a hostile pipeline", () => {
  it("harms itself alone: patterns, endless loops and floods beside a stream that flows on", async () => {
    const loop = "($f := function($n) { $f($n + 1) }; $f(0))";
    expect((await put("loops", { steps: [{ id: "a", use: "record.map", with: { set: { y: loop } } }] })).status).toBe(200);
    expect(
      (await put("patterns", { steps: [{ id: "a", use: "record.validate", with: { schema: { properties: { x: { pattern: "(a+)+$" } } } } }] }))
        .status,
    ).toBe(200);
    const burning = Array.from({ length: 30 }, () => api.send("POST", "/v1/pipelines/loops/events", {}));
    const matching = Array.from({ length: 10 }, () =>
      api.send("POST", "/v1/pipelines/patterns/events", { x: `${"a".repeat(200_000)}!` }, { prefer: "wait=20" }),
    );
    // An endless loop is stopped after a second; a neighbour waits for one of them at most, not for all thirty: each is done within its 20 seconds.
    for (let i = 0; i < 20; i++) {
      const { json } = await api.send("POST", EVENTS, good(`control${i}`), { prefer: "wait=20" });
      expect(json).toMatchObject({ state: "done", verdict: "delivered" });
    }
    expect((await Promise.all(matching)).map(({ json }) => json.verdict)).toEqual(Array(10).fill("dead"));
    const [first] = await Promise.all(burning);
    const event = await waitFor(
      "done",
      () => api.get(`/v1/events/${first?.json.id}`),
      ({ json }) => json.state === "done",
      30_000,
    );
    expect(event.json.deadLetters[0]).toMatchObject({ step: "a", code: "expression.failed" });
  });
});

describe("callers", () => {
  it("gain nothing from headers that only a gateway or a mesh may set, nor from a changed token", async () => {
    const headers = {
      "x-consumer-id": "1",
      "x-credential-identifier": "client",
      "x-authenticated-scope": "admin pipelines:read",
      "x-onedata-gateway-secret": "x",
      "l5d-client-id": "gateway.onedata.serviceaccount.identity.linkerd.cluster.local",
    };
    expect((await fetch(`${world.url}/v1/pipelines`, { headers })).status).toBe(401);
    expect((await fetch(world.url + EVENTS, { method: "POST", body: "{}", headers })).status).toBe(401);
    const flipped = (api.token.startsWith("B") ? "C" : "B") + api.token.slice(1);
    for (const token of [flipped, api.token.slice(0, -2), `${api.token}AA`, "a.b"]) {
      expect((await fetch(`${world.url}/v1/pipelines`, { headers: { authorization: `Bearer ${token}` } })).status).toBe(401);
    }
  });

  it("need on every route the scope that the contract names", async () => {
    const none = await api.send("POST", "/v1/clients", { name: "low", scopes: ["lookups:read"] });
    const low = await api.as(none.json, "lookups:read");
    const { paths } = (await api.get("/openapi.json")).json;
    const wrong: string[] = [];
    for (const [path, methods] of Object.entries<Record<string, { security?: { oauth2?: string[] }[] }>>(paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        const scopes = operation.security?.[0]?.oauth2 ?? [];
        if (scopes.length === 0 || scopes.includes("lookups:read")) continue;
        const body = ["get", "delete"].includes(method) ? undefined : {};
        const url = path.replaceAll(/\{[^}]+\}/g, "x");
        const answer = await low.send(method.toUpperCase(), url, body);
        const anonymous = await fetch(world.url + url, { method: method.toUpperCase() });
        if (answer.status !== 403 || anonymous.status !== 401) wrong.push(`${method} ${path}: ${answer.status} ${anonymous.status}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("never see a connection's secret again, and reach no platform database through one", async () => {
    const folder = join(world.home, "postgres");
    const password = readFileSync(join(folder, "pg-password"), "utf8").trim();
    const config = { host: "127.0.0.1", port: Number(readFileSync(join(folder, "port"), "utf8")), database: "onedata", user: "postgres" };
    const made = await api.send("PUT", "/v1/connections/inside", { kind: "postgres", config, secrets: { password } });
    expect([made.status, made.json.secretNames]).toEqual([200, ["password"]]);
    const tested = await api.send("POST", "/v1/connections/inside:test", {});
    expect(tested.json).toMatchObject({ ok: false, problem: expect.stringContaining("the platform's own database") });
    const spec = await put("inside", { sinks: [{ use: "postgres.insert", with: { connection: "inside", table: "principals" } }] });
    expect(spec.status).toBe(422);
    const read = await Promise.all(["/v1/connections/inside", "/v1/connections", "/v1/audit"].map(async (path) => (await api.get(path)).text));
    expect([...read, made.text, tested.text, spec.text, world.output()].join()).not.toContain(password);
  });
});
