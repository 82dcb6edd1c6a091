import { ExactNumber, type Json, OneDataError } from "@onedata/core";
import { describe, expect, test } from "vitest";
import { compileExpression } from "./index.ts";
import { jsonataCode } from "./failure.ts";

const clock = { timeUnixMs: Date.UTC(2026, 10, 23, 12, 30) };
const run = async (source: string, record: Json): Promise<Json | undefined> => compileExpression(source).evaluate(record, clock);

function problemOf(act: () => unknown): OneDataError {
  try {
    act();
  } catch (error) {
    if (error instanceof OneDataError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

const failureOf = async (source: string, record: Json): Promise<OneDataError> => {
  try {
    await compileExpression(source).evaluate(record, clock);
  } catch (error) {
    if (error instanceof OneDataError) return error;
    throw error;
  }
  throw new Error(`${source} did not fail`);
};

describe("an expression", () => {
  test("computes with members, and is absent where a member is", async () => {
    expect(await run("price * quantity", { price: 2, quantity: 3 })).toBe(6);
    expect(await run("price * quantity", { price: 2 })).toBe(undefined);
    expect(await run("a", { a: null })).toBe(null);
  });

  test("answers plain JSON: no flags, no prototypes, no functions", async () => {
    const result = await run("{'all': items.x, 'one': items[0]}", { items: [{ x: [1, 2] }, { x: 3 }] });
    expect(result).toStrictEqual({ all: [1, 2, 3], one: { x: [1, 2] } });
    expect(Object.keys((result as { all: object }).all)).toEqual(["0", "1", "2"]);
    expect((await failureOf("function($x) { $x }", {})).code).toBe("expression.failed");
    expect(jsonataCode(await failureOf("1 / 0", {}))).toBe("D1001");
  });

  test("takes the capture time for $now, $millis and the missing parts of $toMillis", async () => {
    expect(await run("$now()", {})).toBe("2026-11-23T12:30:00.000Z");
    expect(await run("$millis()", {})).toBe(clock.timeUnixMs);
    expect(await run("$now('[Y0001]')", {})).toBe("2026");
    expect(await run("$toMillis('10:15', '[H01]:[m01]')", {})).toBe(Date.UTC(2026, 10, 23, 10, 15));
    const now = compileExpression("$now()");
    expect(await Promise.all([1, 2].map((timeUnixMs) => now.evaluate({}, { timeUnixMs })))).toEqual(["1970-01-01T00:00:00.001Z", "1970-01-01T00:00:00.002Z"]);
  });

  test("sees a number beyond double precision as its double, and leaves other members alone", async () => {
    const record = { big: new ExactNumber("12345678901234567890"), deep: { n: [new ExactNumber("1e400")] }, other: new ExactNumber("0.10000000000000000001") };
    expect(await run("big + 1", record)).toBe(12345678901234567890);
    expect(jsonataCode(await failureOf("deep.n[0] + 1", record))).toBe("D1001");
    expect(await run("$string($$.other)", record)).toBe("0.1");
  });

  test("names the top-level members that it reads", () => {
    const reads = (source: string): readonly (readonly string[] | boolean)[] => {
      const { paths, readsWholeRecord } = compileExpression(source);
      return [paths, readsWholeRecord];
    };
    expect(reads("price * items[sku = 'a'].quantity")).toEqual([["items", "price"], false]);
    expect(reads("$$.a & $.b & $uppercase(c)")).toEqual([["a", "b", "c"], false]);
    expect(reads("$map(items, function($i) { $i.price * rate })")).toEqual([["items", "rate"], false]);
    expect(reads("$string()")).toEqual([[], true]);
    expect(reads("$keys($)")).toEqual([[], true]);
    expect(reads("$now()")).toEqual([[], false]);
  });
});

describe("a wrong expression", () => {
  test("is refused with its position and what to do", () => {
    const problem = problemOf(() => compileExpression("price * * 2)"));
    expect(problem.code).toBe("expression.invalid");
    expect(problem.message).toMatch(/at position \d+.*docs\.jsonata\.org/);
  });

  test.each(["$random()", "$eval('1')", "$shuffle([1,2])", "a.b[$random() > 0.5]", "$map(x, $random)"])("%s is refused", (source) => {
    expect(problemOf(() => compileExpression(source)).message).toMatch(/is not allowed/);
  });

  test.each(["$match(a, /(?=x)/)", "$contains(a, /(a)\\1/)", "$contains(a, /[/)"])("%s is refused", (source) => {
    expect(problemOf(() => compileExpression(source)).code).toBe("expression.invalid");
  });

  test("names the expression, the position and the value when a record breaks it", async () => {
    const failure = await failureOf("price * 2", { price: "x".repeat(1000) });
    expect(failure.code).toBe("expression.failed");
    expect(failure.message).toMatch(/^expression "price \* 2" failed at position \d+: T2001 .*value: "x+…$/);
    expect(failure.message.length).toBeLessThan(400);
  });
});

describe("a hostile expression", () => {
  test("runs its regexes in linear time", async () => {
    const text = `${"a".repeat(50_000)}!`;
    const startedMs = performance.now();
    expect(await run("$contains(text, /^(a+)+$/)", { text })).toBe(false);
    expect(performance.now() - startedMs).toBeLessThan(1_000);
    expect(await run("$replace(text, /(a)(b)?/, '[$1$2]')", { text: "abac" })).toBe("[ab][a]c");
    expect(await run("$match(text, /a(b)?/i).match", { text: "ABxa" })).toEqual(["AB", "a"]);
    expect(await run("$split(text, /[,;] */)", { text: "a, b;c" })).toEqual(["a", "b", "c"]);
  });

  test.each([
    ["($f := function($n) { 1 + $f($n + 1) }; $f(0))", ["D1011", "D1012"]],
    ["($f := function($n) { $f($n + 1) }; $f(0))", ["D1012"]],
    ["$map([1..300000], function($a) { $map([1..1000], function($b) { $a * $b }) })", ["D1012"]],
    ["[1..9000000]", ["D2015"]],
    ["$pad('', 900000000)", ["D2015"]],
    ["$reduce([1..60], function($a, $b) { $a & $a }, 'xxxxxxxx')", ["RangeError", "D2015"]],
  ])("%s is stopped", async (source, codes) => {
    const startedMs = performance.now();
    expect(codes).toContain(jsonataCode(await failureOf(source, {})));
    expect(performance.now() - startedMs).toBeLessThan(4_000);
  });
});
