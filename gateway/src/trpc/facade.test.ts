import { definitions, readContract } from "@onedata/contracts";
import { createTRPCClient, httpBatchStreamLink, httpLink, TRPCClientError } from "@trpc/client";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Backend, createBackend, type Gateway, openGateway, PAYLOAD, token } from "../rest/test-backend.ts";
import type { AppRouter } from "./app-router.ts";
import { createTrpcFacade } from "./facade.ts";
import { createAppRouter, procedureKey, routerKey } from "./router.ts";
import { transformer } from "./transformer.ts";

let backend: Backend;
let gateway: Gateway;

beforeAll(async () => {
  backend = createBackend();
  const logged: unknown[] = [];
  const log = { info: () => {}, warn: () => {}, error: (message: string, fields?: unknown) => void logged.push({ message, fields }) };
  gateway = await openGateway([createTrpcFacade({ ...backend, log })]);
});
afterAll(async () => gateway[Symbol.asyncDispose]());

const open = (authorization = token(1, "pipelines:read", "pipelines:write", "events:read", "lookups:write"), headers: Record<string, string> = {}) =>
  createTRPCClient<AppRouter>({ links: [httpBatchStreamLink({ url: `${gateway.url}/trpc`, transformer, headers: { authorization, ...headers } })] });

async function problemOf(promise: Promise<unknown>): Promise<unknown> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof TRPCClientError)) throw new Error("it did not fail", { cause: error });
  return error.data.problem;
}

describe("the router", () => {
  it("has exactly the methods of the services that are not internal, but streamed requests", () => {
    const router = createAppRouter(backend);
    const expected = Object.values(definitions)
      .filter(({ fullName }) => readContract().serviceByName.get(fullName)?.internal === false)
      .flatMap((definition) =>
        Object.values(definition.methods)
          .filter((method) => !method.requestStream)
          .map((method) => `${routerKey(definition.name)}.${procedureKey(definition.name, method.name)}`),
      );
    const actual = Object.entries(router._def.record).flatMap(([service, procedures]) => Object.keys(procedures).map((name) => `${service}.${name}`));
    expect(actual.toSorted()).toEqual(expected.toSorted());
    expect(actual).toContain("pipeline.apply");
    expect(actual.some((name) => /^(transform|load)\./.test(name))).toBe(false);
  });
});

describe("over a socket", () => {
  it("calls queries and mutations with dates and bytes as they are", async () => {
    const client = open();
    const applied = await client.pipeline.apply.mutate({ pipeline: "orders", document: "name: orders" });
    expect(applied).toMatchObject({ version: 1, created: true, pipeline: { updatedAt: new Date(1000) } });
    const [pipeline, list] = await Promise.all([client.pipeline.get.query({ pipeline: "orders" }), client.pipeline.list.query({})]);
    expect([pipeline.name, list.pipelines.length]).toEqual(["orders", 1]);
    expect((await client.event.get.query({ event: "evt_1" })).payload).toBe(PAYLOAD);
    expect(await client.lookup.put.mutate({ lookup: "countries", content: new TextEncoder().encode("a\n1\n"), mediaType: "text/csv" })).toMatchObject(
      { name: "countries" },
    );
  });

  it("iterates a server stream", async () => {
    const ids: string[] = [];
    for await (const event of await open().event.tail.query({ pipeline: "orders" })) ids.push(event.id);
    expect(ids).toEqual(["evt_0", "evt_1", "evt_2"]);
  });

  it("tells of a stream that breaks with the same problem", async () => {
    const read = async (): Promise<void> => {
      for await (const event of await open().event.tail.query({ pipeline: "broken" })) expect(event.id).toMatch(/^evt_/);
    };
    expect(await problemOf(read())).toMatchObject({ status: 503, code: "store.unavailable" });
  });

  it("aborts the call behind when the caller leaves", async () => {
    const leave = new AbortController();
    const iterator = (await open().event.tail.query({ pipeline: "quiet" }, { signal: leave.signal }))[Symbol.asyncIterator]();
    await iterator.next();
    leave.abort();
    await backend.tailAborted;
  });

  it("checks the scopes of every method in a batch for itself", async () => {
    const client = open(token(1, "pipelines:read"));
    const [allowed, refused] = await Promise.allSettled([client.pipeline.list.query({}), client.pipeline.pause.mutate({ pipeline: "orders" })]);
    expect([allowed.status, refused.status]).toEqual(["fulfilled", "rejected"]);
    expect(await problemOf(client.pipeline.pause.mutate({ pipeline: "orders" }))).toMatchObject({ status: 403, code: "auth.scope_missing" });
    expect(await problemOf(open("").pipeline.list.query({}))).toMatchObject({ status: 401, code: "auth.unauthenticated" });
  });

  it("keeps tenants apart and passes Idempotency-Key on", async () => {
    await open(undefined, { "idempotency-key": "k-7" }).pipeline.apply.mutate({ pipeline: "mine", document: "x" });
    expect(backend.seen.at(-1)?.context.metadata["idempotency-key"]).toBe("k-7");
    expect(await problemOf(open(token(2, "pipelines:read")).pipeline.get.query({ pipeline: "mine" }))).toMatchObject({
      status: 404,
      code: "pipeline.not_found",
    });
  });

  it("refuses what the types forbid, with pointers, and what the rules forbid", async () => {
    const client = open();
    // A caller without types.
    const wrong = { pipeline: 5, pageSise: 1 } as unknown as { pipeline: string };
    expect(await problemOf(client.pipeline.listVersions.query(wrong))).toMatchObject({
      status: 400,
      code: "request.invalid",
      errors: [
        { pointer: "/pipeline", code: "type" },
        { pointer: "/pageSise", code: "unknown", detail: expect.stringContaining('did you mean "pageSize"') },
      ],
    });
    expect(await problemOf(client.pipeline.get.query({ pipeline: "Not A Name" }))).toMatchObject({
      errors: [{ pointer: "/pipeline", code: "string.pattern" }],
    });
  });

  it("relays a backend's problem whole, and nothing of an unknown error", async () => {
    const client = open();
    expect(await problemOf(client.pipeline.apply.mutate({ pipeline: "x", document: "nonsense" }))).toMatchObject({
      status: 422,
      code: "pipeline.invalid",
      errors: [{ pointer: "/steps/0/use" }, { pointer: "/sinks/0" }],
    });
    const raw = await fetch(`${gateway.url}/trpc/pipeline.getStats?input=${encodeURIComponent('{"pipeline":"orders"}')}`, {
      headers: { authorization: token(1, "pipelines:read") },
    });
    const text = await raw.text();
    expect([raw.status, text.includes("nobody outside may read"), text.includes("stack")]).toEqual([500, false, false]);
    expect(JSON.parse(text)).toMatchObject({ error: { data: { problem: { code: "internal", instance: expect.any(String) } } } });
  });

  it("answers unknown procedures and malformed input with problems", async () => {
    const get = async (path: string): Promise<unknown> =>
      (await fetch(`${gateway.url}/trpc/${path}`, { headers: { authorization: token(1, "pipelines:read") } })).json();
    expect(await get("pipeline.nothing")).toMatchObject({ error: { data: { problem: { status: 404, code: "route.not_found" } } } });
    expect(await get("pipeline.get?input=%7B")).toMatchObject({ error: { data: { problem: { status: 400, code: "request.malformed" } } } });
    const plain = createTRPCClient<AppRouter>({
      links: [httpLink({ url: `${gateway.url}/trpc`, transformer, headers: { authorization: token(1, "events:read") } })],
    });
    expect(await problemOf(plain.event.tail.query({ pipeline: "orders" }))).toMatchObject({ status: 415 });
  });
});

describe("the transformer", () => {
  it("brings back what went in", () => {
    const leaf = fc.oneof(
      fc.string(),
      fc.boolean(),
      fc.integer(),
      fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n }),
      fc.date({ noInvalidDate: true }),
      fc.uint8Array(),
      fc.constant(null),
    );
    const key = fc.oneof(
      fc.constantFrom("$d", "$n", "$b", "$e"),
      fc.string().filter((name) => name !== "__proto__"),
    );
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { depthSize: "small" },
        leaf,
        fc.array(tie("any"), { maxLength: 4 }),
        fc.dictionary(key, tie("any"), { maxKeys: 3, noNullPrototype: true }),
      ),
    })).any;
    fc.assert(
      fc.property(value, (input) => {
        expect(transformer.deserialize(JSON.parse(JSON.stringify(transformer.serialize(input))))).toEqual(input);
      }),
    );
  });
});
