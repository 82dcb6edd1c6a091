import { type Json, type JsonObject, OneDataError, type Violation } from "@onedata/core";
import { describe, expect, it } from "vitest";
import { checkConfig } from "./check-config.ts";
import { cpuTimeMs } from "./cpu-time.ts";
import { findOperation } from "./registry.ts";
import { compileSchema, schemaProblems } from "./schema/compile-schema.ts";
import { declaredMembers, warnExpressions } from "./warn-expressions.ts";

function descriptionOf(name: string) {
  const operation = findOperation(name);
  if (operation === undefined) throw new Error(`no ${name}`);
  return operation.description;
}
const problems = (name: string, config: Json): string[] => checkConfig(descriptionOf(name), config).map((v) => `${v.pointer} ${v.detail}`);
const lines = (violations: readonly Violation[]): string[] => violations.map((v) => `${v.pointer} ${v.detail}`);

describe("checkConfig", () => {
  it("names every problem with its place and what to do", () => {
    expect(problems("record.filter", { wher: "a" }).sort()).toEqual([
      ' the member "where" is missing',
      '/wher unknown member "wher"; did you mean "where"?',
    ]);
    expect(problems("record.map", { set: { a: 1 } })).toEqual(["/set/a must be a string, is 1"]);
    expect(problems("record.map", 7)).toEqual([" must be an object, is 7"]);
    expect(problems("record.validate", { schema: {}, onFail: "Filter" })).toEqual([
      '/onFail must be one of "dead", "filter", is "Filter"; did you mean "filter"?',
    ]);
  });

  it("compiles the expressions, patterns, paths, formats and schemas inside", () => {
    expect(problems("record.map", { set: { total: "price *" } })[0]).toMatch(/^\/set\/total expression "price \*" cannot be compiled/);
    expect(problems("record.map", { set: { "a..b": "1" } })[0]).toMatch(/"a\.\.b" is not a path/);
    expect(problems("record.validate", { schema: { properties: { a: { pattern: "(?!x)" } } } })[0]).toMatch(
      /^\/schema\/properties\/a\/pattern the pattern \(\?!x\) cannot be used: .*RE2/,
    );
    expect(problems("record.validate", { schema: { properties: { a: { minLenght: 1 } } } })[0]).toMatch(
      /^\/schema\/properties\/a\/minLenght unknown keyword "minLenght"; did you mean "minLength"/,
    );
    expect(problems("record.validate", { schema: { properties: { a: { minimum: "0" } } } })[0]).toMatch(
      /^\/schema\/properties\/a\/minimum must be a number/,
    );
    expect(problems("record.cast", { fields: { d: { type: "date", format: "DD/MM/JJJJ" } } })[0]).toMatch(
      /^\/fields\/d\/format the date format "DD\/MM\/JJJJ" cannot be used: "JJJJ" is no token/,
    );
    expect(problems("record.cast", { fields: { d: { type: "date", format: "YYYY-MM-DD", timezone: "Oslo" } } })[0]).toMatch(/no time zone/);
    expect(problems("record.cast", { fields: { d: "numbr" } })).toEqual([
      '/fields/d must be one of "number", "integer", "boolean", "string", is "numbr"; did you mean "number"?',
    ]);
  });

  it("makes compile throw the same", () => {
    const compile = (): unknown => findOperation("record.map")?.compile({ set: { total: "price *" } }, { lookups: { get: async () => new Map() } });
    expect(compile).toThrow(OneDataError);
    expect(compile).toThrow(/^record\.map: \/set\/total: expression/);
  });
});

describe("compileSchema", () => {
  const check = (schema: JsonObject, value: Json): string[] => lines(compileSchema(schema)(value));

  it("says what is wrong with a value, and where", () => {
    const schema = {
      type: "object",
      required: ["id"],
      additionalProperties: false,
      properties: { id: { type: "integer" }, mail: { format: "email" }, items: { items: { properties: { n: { minimum: 1 } } } } },
    };
    expect(check(schema, { id: 1 })).toEqual([]);
    expect(check(schema, { mial: "a@b.no", items: [{ n: 1 }, { n: 0 }] }).sort()).toEqual([
      ' the member "id" is missing',
      "/items/1/n must be >= 1, is 0",
      '/mial unknown member "mial"; did you mean "mail"?',
    ]);
  });

  it("judges exact numbers by their doubles", () => {
    const findings = compileSchema({ properties: { a: { type: "integer", minimum: 0 } } });
    const exact = findOperation("record.cast")
      ?.compile({ fields: { a: "integer" } }, { lookups: { get: async () => new Map() } })
      .apply({ a: "12345678901234567890" }, { timeUnixMs: 0 });
    expect(exact).toMatchObject({ kind: "outputs" });
    if (exact !== undefined && "kind" in exact && exact.kind === "outputs") expect(findings(exact.records[0] ?? null)).toEqual([]);
  });

  it("refuses schemas that cost too much, are of another dialect, misspelt, or point elsewhere", () => {
    const doubling: JsonObject = Object.fromEntries(
      Array.from({ length: 40 }, (_, i) => [`d${i}`, { allOf: [{ $ref: `#/$defs/d${i + 1}` }, { $ref: `#/$defs/d${i + 1}` }] }]),
    );
    const deep = (n: number): Json => (n === 0 ? {} : { not: deep(n - 1) });
    expect(lines(schemaProblems({ $ref: "#/$defs/d0", $defs: { ...doubling, d40: true } }))[0]).toMatch(/references multiply/);
    expect(
      lines(
        schemaProblems({
          $defs: { t: { anyOf: [{ properties: { c: { $ref: "#/$defs/t" } } }, { items: { $ref: "#/$defs/t" } }] } },
          $ref: "#/$defs/t",
        }),
      )[0],
    ).toMatch(/leads back to itself/);
    expect(lines(schemaProblems(deep(40)))[0]).toMatch(/nested deeper than 32/);
    expect(lines(schemaProblems({ enum: Array.from({ length: 6000 }, (_, i) => i) }))[0]).toMatch(/more than 5000 parts/);
    expect(lines(schemaProblems({ $schema: "http://json-schema.org/draft-07/schema#" }))[0]).toMatch(/leave \$schema out/);
    expect(lines(schemaProblems({ requird: ["a"] }))[0]).toMatch(/requird/);
    expect(lines(schemaProblems({ $ref: "https://example.com/schema.json" }))[0]).toMatch(/example\.com/);
  });

  it("keeps schemas apart, whatever they call themselves", () => {
    const first = compileSchema({ $id: "https://json-schema.org/draft/2020-12/schema", properties: { a: { type: "string" } } });
    const second = compileSchema({ $id: "https://json-schema.org/draft/2020-12/schema", properties: { a: { type: "number" } } });
    expect([first({ a: "x" }).length, second({ a: "x" }).length, compileSchema({ minimum: 1 })(0).length]).toEqual([0, 1, 1]);
    expect(lines(schemaProblems({ $defs: { a: { $id: "https://example.com/a" } } }))[0]).toMatch(/^\/\$defs\/a\/\$id an inner \$id/);
  });

  it("bounds the work for one value", () => {
    const startMs = cpuTimeMs();
    const numbers: Json = Array.from({ length: 300_000 }, (_, i) => i);
    expect(compileSchema({ items: { type: "string" } })(numbers)).toEqual([{ pointer: "/0", code: "type", detail: "must be a string, is 0" }]);
    expect(lines(compileSchema({ items: { enum: Array.from({ length: 3000 }, (_, i) => `v${i}`) } })(numbers))[0]).toMatch(
      /too many for a schema of 300/,
    );
    expect(cpuTimeMs() - startMs).toBeLessThan(3_000);
  });

  it("allows recursion in one branch", () => {
    const tree = {
      $defs: {
        node: { type: "object", properties: { left: { $ref: "#/$defs/node" }, right: { $ref: "#/$defs/node" } }, additionalProperties: false },
      },
      $ref: "#/$defs/node",
    };
    expect(check(tree, { left: { right: {} } })).toEqual([]);
    expect(check(tree, { left: { middle: {} } })).toHaveLength(1);
  });

  it("checks unique items in linear time, and equal ones whatever their members' order", () => {
    const unique = compileSchema({ uniqueItems: true });
    expect(
      unique([
        { a: 1, b: 2 },
        { b: 2, a: 1 },
      ]),
    ).toHaveLength(1);
    const startMs = cpuTimeMs();
    expect(unique(Array.from({ length: 20_000 }, (_, i) => ({ i })))).toEqual([]);
    expect(cpuTimeMs() - startMs).toBeLessThan(3_000);
  });

  it.each([
    "email",
    "uri",
    "uri-reference",
    "uri-template",
    "url",
    "hostname",
    "ipv6",
    "regex",
    "json-pointer",
    "duration",
    "date-time",
  ])("does not stall on hostile text for the format %s", (format) => {
    const judge = compileSchema({ format });
    const startMs = cpuTimeMs();
    for (const piece of ["a", "a.", "a-", "1", "1:", "/", "%20", "{a}", "a@", "http://a", "((a+)+"])
      judge(`http://${piece.repeat(2000 / piece.length)}\u0001`);
    for (const piece of ["a", "a.", "a-", "0:", "a@a", "P1"]) judge(`${piece.repeat(2000 / piece.length)}\u0001`);
    expect(cpuTimeMs() - startMs).toBeLessThan(3_000);
  });
});

describe("warnExpressions", () => {
  const map = descriptionOf("record.map");
  const schema = { type: "object", properties: { price: {}, quantity: {} }, required: ["id"] };

  it("warns of bare words and unknown members", () => {
    expect(lines(warnExpressions(map, { set: { country: "NO", total: "pirce * quantity" } }, declaredMembers(schema)))).toEqual([
      "/set/country NO is the member of that name, not text: write 'NO' in single quotes inside the expression if text was meant",
      '/set/total the input schema has no member "pirce"; did you mean "price"?',
    ]);
  });

  it("keeps quiet about what it cannot know", () => {
    expect(lines(warnExpressions(map, { set: { country: "NO", name: "full_name" } }))).toEqual([
      "/set/country NO is the member of that name, not text: write 'NO' in single quotes inside the expression if text was meant",
    ]);
    expect(declaredMembers({ properties: {}, additionalProperties: true })).toBeUndefined();
    expect(warnExpressions(descriptionOf("record.filter"), { where: "id" }, declaredMembers(schema))).toEqual([]);
  });
});
