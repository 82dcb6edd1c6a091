import type { Json, JsonObject } from "@onedata/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compileSchema, schemaProblems } from "./compile-schema.ts";

describe("multipleOf", () => {
  const cents = compileSchema({ type: "number", multipleOf: 0.01 });

  it("takes every amount of cents, and names what is none", () => {
    for (let n = 0; n <= 10_000; n++) expect(cents(Number(`${Math.floor(n / 100)}.${String(n % 100).padStart(2, "0")}`)), `${n} cents`).toEqual([]);
    expect(cents(19.999)).toEqual([{ pointer: "", code: "multipleOf", detail: "must be a multiple of 0.01, is 19.999" }]);
  });

  it("is exact at both ends of what a double holds", () => {
    const pairs: readonly [value: number, multipleOf: number, fits: boolean][] = [
      [1e-7, 1e-7, true],
      [3e-7, 1e-7, true],
      [1.5e-7, 1e-7, false],
      [1e308, 1e-7, true],
      [Number.MIN_VALUE, Number.MIN_VALUE, true],
      [-0.3, 0.1, true],
      [2 ** 60, 2, true],
      [1e22, 3, false],
      [9e22, 3, true],
      [0, 0.7, true],
      [0.5, 1, false],
    ];
    for (const [value, multipleOf, fits] of pairs) expect(compileSchema({ multipleOf })(value).length === 0, `${value} of ${multipleOf}`).toBe(fits);
  });

  it("agrees with integers, wherever the point stands", () => {
    const digits = fc.integer({ min: -99_999_999, max: 99_999_999 });
    const divisor = fc.integer({ min: 1, max: 9_999 });
    fc.assert(
      fc.property(digits, divisor, fc.integer({ min: -12, max: 12 }), (value, by, exponent) => {
        const check = compileSchema({ multipleOf: Number(`${by}e${exponent}`) });
        expect(check(Number(`${value}e${exponent}`)).length === 0).toBe(value % by === 0);
      }),
    );
  });
});

describe("references", () => {
  const nested = (depth: number, leaf: Json): Json => (depth === 0 ? leaf : { value: 1, child: nested(depth - 1, leaf) });

  it("to the whole schema check as deep as the value goes", () => {
    const node = { type: "object", required: ["value"], properties: { value: { type: "number" } } };
    const schemas: JsonObject[] = [
      { ...node, properties: { ...node.properties, child: { $ref: "#" } } },
      { $ref: "#/$defs/node", $defs: { node: { ...node, properties: { ...node.properties, child: { $ref: "#/$defs/node" } } } } },
    ];
    for (const schema of schemas) {
      const check = compileSchema(schema);
      expect(check(nested(50, { value: 1 }))).toEqual([]);
      expect(check(nested(50, { value: "x" }))).toMatchObject([{ pointer: `${"/child".repeat(50)}/value`, code: "type" }]);
    }
  });

  it.each<[string, JsonObject, string]>([
    ["the schema itself", { $ref: "#" }, "/$ref"],
    ["the schema itself, in another spelling", { $ref: "#/" }, "/$ref"],
    ["itself", { properties: { a: { $ref: "#/properties/a" } } }, "/properties/a/$ref"],
    ["itself over another", { properties: { a: { $ref: "#/properties/b" }, b: { $ref: "#/properties/a" } } }, "/properties/b/$ref"],
    ["itself from a branch", { allOf: [{ type: "object" }, { $ref: "#" }] }, "/allOf/1/$ref"],
    ["itself where nobody refers to it", { $defs: { a: { not: { $ref: "#/$defs/a" } } } }, "/$defs/a/not/$ref"],
  ])("that lead back to %s are named", (_, schema, pointer) => {
    expect(schemaProblems(schema)).toMatchObject([{ pointer, code: "$ref", detail: expect.stringContaining("leads back to itself") }]);
  });

  it("may pass through each other on their way into a member", () => {
    const schema = {
      properties: { a: { $ref: "#/$defs/b" } },
      $defs: { b: { anyOf: [{ type: "null" }, { $ref: "#/$defs/c" }] }, c: { items: { $ref: "#/$defs/b" } } },
    };
    expect(schemaProblems(schema)).toEqual([]);
    expect(compileSchema(schema)({ a: [[null, []]] })).toEqual([]);
  });
});

it.each<[string, JsonObject, string]>([
  ["an unknown keyword", { properties: { x: { anyOf: [{ minLenght: 1 }] } } }, "/properties/x/anyOf/0/minLenght"],
  ["an unknown format", { items: { format: "emial" } }, "/items/format"],
  ["a reference to nothing", { properties: { "a/b": { $ref: "#/$defs/nope" } } }, "/properties/a~1b/$ref"],
  ["a reference to another document", { properties: { x: { $ref: "other.json" } } }, "/properties/x/$ref"],
  ["a reference to no document", { properties: { x: { $ref: "" } } }, "/properties/x/$ref"],
])("%s is a problem of its place", (_, schema, pointer) => {
  expect(schemaProblems(schema).map((problem) => problem.pointer)).toEqual([pointer]);
});
