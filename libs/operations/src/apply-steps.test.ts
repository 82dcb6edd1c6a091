import { type Json, type JsonObject, OneDataError } from "@onedata/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { applySteps, type InputRecord, type RecordResult } from "./apply-steps.ts";
import { cpuTimeMs } from "./cpu-time.ts";
import { type OperationDeps, type Step, type StepCall, type TableQuery, withCall } from "./operation.ts";
import { findOperation } from "./registry.ts";
import { StepCache } from "./step-cache.ts";

const noLookups: OperationDeps = { lookups: { get: async () => new Map() } };
const timeUnixMs = Date.UTC(2026, 10, 23, 12, 30);

function step(name: string, config: JsonObject, deps: OperationDeps = noLookups): Step {
  const operation = findOperation(name);
  if (operation === undefined) throw new Error(`no ${name}`);
  return operation.compile(config, deps);
}
const records = (...texts: (string | Uint8Array)[]): InputRecord[] => texts.map((json, n) => ({ n, json, timeUnixMs }));
const outputsOf = (result: RecordResult | undefined): readonly string[] => (result?.kind === "outputs" ? result.outputs : [JSON.stringify(result)]);

describe("applySteps", () => {
  it("keeps what no step touches, to the last digit", async () => {
    const text = '{"a":1.10,"b":12345678901234567890,"c":"\\u0000","d":1e400,"e":-0,"__proto__":{"x":1}}';
    const [mapped] = await applySteps([step("record.map", { set: { total: "a * 2" } })], records(text));
    expect(outputsOf(mapped)).toEqual(['{"a":1.1,"b":12345678901234567890,"c":"\\u0000","d":1e400,"e":-0,"__proto__":{"x":1},"total":2.2}']);
    const [passed] = await applySteps(
      [
        step("record.filter", { where: "a > 1" }),
        step("record.validate", { schema: { required: ["b"], properties: { b: { type: "integer", minimum: 1 } } } }),
      ],
      records(text),
    );
    expect(outputsOf(passed)).toEqual([text]);
  });

  it("copies an exact number by a plain path", async () => {
    const [result] = await applySteps(
      [step("record.map", { set: { "x.y": "a.b", z: "a" }, unset: ["a"] })],
      records('{"a":{"b":12345678901234567890}}'),
    );
    expect(outputsOf(result)[0]).toMatch(/"x":\{"y":12345678901234567890\}/);
  });

  it("carries any record through a map of another member", async () => {
    const map = step("record.map", { set: { "onedata-test": "1" } });
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })), async (record) => {
        const [result] = await applySteps([map], records(JSON.stringify(record)));
        expect(JSON.parse(outputsOf(result)[0] ?? "")).toEqual({ ...(JSON.parse(JSON.stringify(record)) as object), "onedata-test": 1 });
      }),
    );
  });

  it("answers once per record, in order: outputs, filtered and failed, each with its step", async () => {
    const chain = [
      step("record.filter", { where: "id != 2" }),
      step("record.explode", { path: "lines", keep: ["id"] }),
      step("record.filter", { where: "n < 10" }),
      step("record.map", { set: { double: "n * 2" } }),
    ];
    const results = await applySteps(
      chain,
      records(
        '{"id":1,"lines":[{"n":1},{"n":2},{"n":99}]}',
        '{"id":2}',
        '{"id":3}',
        '{"id":4,"lines":[{"n":50}]}',
        '{"id":5,"lines":[{"n":3},{"n":false}]}',
        "{broken",
        new Uint8Array([0x22, 0xff, 0x22]),
      ),
    );
    expect(results).toEqual([
      { n: 0, kind: "outputs", outputs: ['{"id":1,"n":1,"double":2}', '{"id":1,"n":2,"double":4}'] },
      { n: 1, kind: "filtered", step: 0 },
      expect.objectContaining({ n: 2, kind: "failed", step: 1, code: "record.invalid" }),
      { n: 3, kind: "filtered", step: 2 },
      expect.objectContaining({ n: 4, kind: "failed", step: 2, code: "expression.failed" }),
      expect.objectContaining({ n: 5, kind: "failed", step: 0, code: "record.parse_failed" }),
      expect.objectContaining({ n: 6, kind: "failed", step: 0, code: "record.parse_failed" }),
    ]);
  });

  it("fetches once per call, each key once, and leaves no fault of one record to the others", async () => {
    const fetches: (readonly string[])[] = [];
    const deps: OperationDeps = {
      lookups: {
        async get(_table, _column, keys) {
          fetches.push(keys);
          return new Map(keys.map((key): [string, JsonObject] => [key, { name: `row ${key}` }]));
        },
      },
    };
    const lookup = step("enrich.lookup", { table: "t", on: "-code", column: "code", take: ["name"] }, deps);
    const results = await applySteps(
      [step("record.filter", { where: "code != 3" }), lookup],
      records('{"code":1}', '{"code":2}', '{"code":1}', '{"code":"x"}', '{"code":3}', '{"code":null}'),
    );
    expect(fetches).toEqual([["-1", "-2"]]);
    expect(results.map((result) => result.kind)).toEqual(["outputs", "outputs", "outputs", "failed", "filtered", "failed"]);
    expect(outputsOf(results[2])).toEqual(['{"code":1,"name":"row -1"}']);
  });

  it("rejects the whole call when a lookup cannot answer: a fault of the service, not of the records", async () => {
    const deps: OperationDeps = { lookups: { get: async () => Promise.reject(new OneDataError("store.unavailable", "the database is down")) } };
    await expect(applySteps([step("enrich.lookup", { table: "t", on: "code", take: ["name"] }, deps)], records('{"code":1}'))).rejects.toMatchObject({
      code: "store.unavailable",
    });
  });

  it("asks a table once per call, and holds back only the records that need it when it cannot be read", async () => {
    const queries: TableQuery[] = [];
    let isAway = false;
    const tables: StepCall["tables"] = {
      async find(query) {
        queries.push(query);
        if (isAway) throw new OneDataError("connection.unavailable", "10.0.0.7:5432/shop: refused");
        return new Map(
          query.keys.map((key) => [key, key === "3" ? { kind: "too_large", bytes: 40_000 } : { kind: "row", row: { name: `row ${key}` } }]),
        );
      },
    };
    const config = { connection: "warehouse", table: "shop.countries", on: "code", take: { name: "country.name" } };
    const chain = [step("record.filter", { where: "code != 9" }), withCall(step("enrich.lookup", config), { tables })];
    const input = records('{"code":1,"country":{}}', '{"code":1,"country":{}}', '{"code":"2"}', '{"code":3}', '{"code":9}', '{"code":null}');
    const found = await applySteps(chain, input);
    expect(queries).toEqual([{ schema: "shop", table: "countries", column: "code", take: ["name"], keys: ["1", "2", "3"], maxAgeMs: 10_000 }]);
    expect(found.map((result) => (result.kind === "failed" ? result.code : result.kind))).toEqual([
      "outputs",
      "outputs",
      "outputs",
      "record.too_large",
      "filtered",
      "lookup.missing",
    ]);
    isAway = true;
    const held = await applySteps(chain, input);
    expect(held.map((result) => (result.kind === "failed" ? `${result.code} ${result.step} ${result.retryable}` : result.kind))).toEqual([
      ...Array.from({ length: 4 }, () => "connection.unavailable 1 true"),
      "filtered",
      "connection.unavailable 1 true",
    ]);
    await expect(applySteps([step("enrich.lookup", config)], input)).resolves.toMatchObject([
      { code: "connection.unavailable", retryable: true },
      {},
      {},
      {},
      {},
      {},
    ]);
  });

  it("gives a record that meets a defect a failure of its own, without the error's text", async () => {
    const defect: Step = { apply: (record) => (record === 1 ? Promise.reject(new TypeError("secret")) : { kind: "outputs", records: [record] }) };
    const [first, second] = await applySteps([defect], records("1", "2"));
    expect(first).toMatchObject({ kind: "failed", code: "internal", cause: expect.any(TypeError) as unknown });
    expect(JSON.stringify(first)).not.toContain("secret");
    expect(second).toEqual({ n: 1, kind: "outputs", outputs: ["2"] });
  });

  it("bounds what one record may become", async () => {
    const explode = step("record.explode", { path: "a" });
    const list = (inner: Json): string => JSON.stringify({ a: Array.from({ length: 200 }, () => inner) });
    const [result] = await applySteps([explode, explode], records(list({ a: Array.from({ length: 200 }, () => 1) })));
    expect(result).toMatchObject({ kind: "failed", step: 1, code: "record.too_large" });
  });

  it("does not stall on a pattern that backtracks for ever elsewhere", async () => {
    const startMs = cpuTimeMs();
    const text = JSON.stringify({ code: `${"a".repeat(50_000)}b` });
    const results = await applySteps(
      [step("record.validate", { schema: { properties: { code: { pattern: "(a+)+$" } } }, onFail: "dead" })],
      records(text),
    );
    expect(results[0]).toMatchObject({ kind: "failed", code: "record.invalid" });
    const [mapped] = await applySteps([step("record.map", { set: { hit: "$contains(code, /(a+)+$/)" }, unset: ["code"] })], records(text));
    expect(outputsOf(mapped)).toEqual(['{"hit":false}']);
    expect(cpuTimeMs() - startMs).toBeLessThan(5_000);
  });
});

describe("StepCache", () => {
  it("compiles a config once per tenant, and forgets the least recently used", () => {
    const cache = new StepCache(() => noLookups, 2);
    const first = cache.get("record.filter", '{"where":"a"}', "1");
    expect(cache.get("record.filter", '{"where":"a"}', "1")).toBe(first);
    expect(cache.get("record.filter", '{"where":"a"}', "2")).not.toBe(first);
    expect(cache.get("record.filter", '{"where":"a"}', "1")).toBe(first);
    cache.get("record.filter", '{"where":"b"}', "1");
    expect(cache.size).toBe(2);
    expect(cache.get("record.filter", '{"where":"a"}', "1")).toBe(first);
    expect(() => cache.get("record.nope", "{}", "1")).toThrow('no operation "record.nope"');
    expect(() => cache.get("record.filter", "{", "1")).toThrow("the config is not JSON");
  });
});
