import { ExactNumber } from "@onedata/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_SPEC_BYTES, readDocument } from "./document.ts";

const YAML = "application/yaml";
const JSON_TYPE = "application/json";

describe("a spec's text", () => {
  it("reads any JSON as itself, as JSON and as YAML", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        const text = JSON.stringify(value);
        // U+0000 has a problem of its own; -0 is no difference that a spec could mean.
        fc.pre(!text.includes("\\u0000") && !text.includes("-0"));
        const plain: unknown = JSON.parse(text);
        expect(readDocument(text, JSON_TYPE).value).toEqual(plain);
        expect(readDocument(text, YAML).value).toEqual(plain);
      }),
    );
  });

  it("keeps numbers beyond double precision", () => {
    expect(readDocument("a: 12345678901234567890\nb: 1.5\n", YAML).value).toEqual({ a: new ExactNumber("12345678901234567890"), b: 1.5 });
  });

  it("knows the line of every place, and of the nearest one around an unknown place", () => {
    const document = readDocument("name: a\nsteps:\n  - id: x\n    with:\n      set: { a: 'b' }\n", YAML);
    expect(["/name", "/steps/0/with/set/a", "/steps/0/with/nothing", "/nothing"].map((pointer) => document.lineOf(pointer))).toEqual([1, 5, 4, 1]);
  });

  it("refuses duplicate names, also in JSON", () => {
    expect(readDocument('{\n"a": 1,\n"a": 2}', JSON_TYPE).problems).toMatchObject([{ code: "spec.duplicate_member", line: 3 }]);
  });

  it("is bounded: size, depth, aliases", () => {
    expect(readDocument("a".repeat(MAX_SPEC_BYTES + 1), YAML).problems).toMatchObject([{ code: "spec.too_large" }]);
    expect(readDocument("[".repeat(100_000), YAML).value).toBeUndefined();
    expect(readDocument(`${"[".repeat(100)}1${"]".repeat(100)}`, YAML).problems).toMatchObject([{ code: "spec.too_deep" }]);
    const bomb = [
      "a: &a [1,1,1,1,1,1,1,1,1,1]",
      ..."bcdefgh".split("").map((name, i) => `${name}: &${name} [${Array(10).fill(`*${"abcdefg"[i]}`).join(",")}]`),
    ].join("\n");
    const before = process.cpuUsage();
    expect(readDocument(bomb, YAML).problems[0]).toMatchObject({ code: "spec.too_large" });
    // Without the bound it would be 10^8 values.
    expect(process.cpuUsage(before).user).toBeLessThan(10_000_000);
    for (const open of ["[", "{a: ", "- ", "? "])
      expect(readDocument(open.repeat(20_000), YAML).problems[0], open).toMatchObject({ code: "spec.too_deep" });
    expect(readDocument(Array.from({ length: 390 }, (_, i) => `${" ".repeat(i)}a:`).join("\n"), YAML).problems[0]).toMatchObject({
      code: "spec.too_deep",
      line: 66,
    });
    expect(readDocument(`[${"[],".repeat(80_000)}]`, YAML).problems[0]).toMatchObject({ code: "spec.too_large" });
    expect(readDocument("a: &a [*a]", YAML).value).toBeUndefined();
  });

  it("refuses what is no JSON", () => {
    for (const text of ["a: .inf", "a: !!binary aGk=", "? [a]\n: b", 'a: "\\0"', "a: *nowhere"])
      expect(readDocument(text, YAML).value, text).toBeUndefined();
  });
});
