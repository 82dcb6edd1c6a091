import { ExactNumber, type Json, OneDataError } from "@onedata/core";
import { describe, expect, test } from "vitest";
import { cpuTimeMs } from "../cpu-time.ts";
import { builtins, isBuiltinName } from "./builtins.ts";
import { Run } from "./compiler/run.ts";
import { jsonataCode } from "./failure.ts";
import { compileExpression, defaultLimits } from "./index.ts";
import { staticBindings } from "./package-evaluator.ts";

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

  test("takes members named like the package's own marks for data", async () => {
    const record = { a: { _jsonata_lambda: true, _jsonata_function: true }, sequence: true };
    expect(await run("{'x': a}", record)).toStrictEqual({ x: record.a });
    expect(await run("$single([a])", record)).toStrictEqual(record.a);
  });

  test("takes the capture time for $now, $millis and the missing parts of $toMillis", async () => {
    expect(await run("$now()", {})).toBe("2026-11-23T12:30:00.000Z");
    expect(await run("$millis()", {})).toBe(clock.timeUnixMs);
    expect(await run("$now('[Y0001]')", {})).toBe("2026");
    expect(await run("$toMillis('10:15', '[H01]:[m01]')", {})).toBe(Date.UTC(2026, 10, 23, 10, 15));
    expect(await run("$single([$now()])", {})).toBe("2026-11-23T12:30:00.000Z");
    const now = compileExpression("$single([$now()])");
    expect(await Promise.all([1, 2].map((timeUnixMs) => now.evaluate({}, { timeUnixMs })))).toEqual([
      "1970-01-01T00:00:00.001Z",
      "1970-01-01T00:00:00.002Z",
    ]);
  });

  test("sees a number beyond double precision as its double, and leaves other members alone", async () => {
    const record = {
      big: new ExactNumber("12345678901234567890"),
      deep: { n: [new ExactNumber("1e400")] },
      other: new ExactNumber("0.10000000000000000001"),
    };
    const double = Number("12345678901234567890");
    expect(await run("big + 1", record)).toBe(double);
    expect(jsonataCode(await failureOf("deep.n[0] + 1", record))).toBe("D1001");
    expect(await run("{'moved': deep.n, 'computed': big - 1}", record)).toStrictEqual({ moved: record.deep.n, computed: double });
    expect(await run("big.text", record)).toBe(undefined);
    expect(await run("$single([big])", record)).toBe(double);
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

  test.each([
    ["$upercase(name)", /no function \$upercase/],
    ["sum(items)", /no function sum.*write \$sum/],
    ["a ? b(c) : d", /no function b/],
  ])("%s is refused: it would fail on every record", (source, message) => {
    expect(problemOf(() => compileExpression(source)).message).toMatch(message);
  });

  test.each([
    "($f := function($x) { $x }; $f(1))",
    "$map(a, function($v) { $string($v) })",
    "a@$x.b#$i.($x & $i)",
    "$substring(?, 1)",
  ])("%s is accepted", (source) => {
    expect(compileExpression(source).source).toBe(source);
  });

  test("names the expression, the position and the value when a record breaks it", async () => {
    const failure = await failureOf("price * 2", { price: "x".repeat(1000) });
    expect(failure.code).toBe("expression.failed");
    expect(failure.message).toMatch(/^expression "price \* 2" failed at position \d+: T2001 .*value: "x+…$/);
    expect(failure.message.length).toBeLessThan(400);
  });
});

describe("a hostile expression", () => {
  const hostile = { from: 1e21, digits: "1".repeat(200), long: "ab".repeat(50_000) };
  const levels = Array.from({ length: 40 }, () => "$a := [[$a], [$a]]; $b := [[$b], [$b]]").join("; ");

  test("runs its regexes in linear time", async () => {
    const text = `${"a".repeat(50_000)}!`;
    const startedMs = cpuTimeMs();
    expect(await run("$contains(text, /^(a+)+$/)", { text })).toBe(false);
    expect(cpuTimeMs() - startedMs).toBeLessThan(2_000);
    expect(await run("$replace(text, /(a)(b)?/, '[$1$2]')", { text: "abac" })).toBe("[ab][a]c");
    expect(await run("$match(text, /a(b)?/i).match", { text: "ABxa" })).toEqual(["AB", "a"]);
    expect(await run("$split(text, /[,;] */)", { text: "a, b;c" })).toEqual(["a", "b", "c"]);
  });

  test("does not change the record, though the package would", async () => {
    const record = { rows: [[], [1]] };
    expect(await run("$single(rows.{'n': $count($)}, function($r) { $r.n = 0 })", record)).toEqual({ n: 0 });
    expect(record).toEqual({ rows: [[], [1]] });
  });

  test("replaces functions of the package by ones of the same shape", () => {
    for (const [name, { implementation }] of Object.entries(staticBindings(new Run(defaultLimits)))) {
      if (isBuiltinName(name)) expect([name, implementation.length]).toEqual([name, builtins()[name].implementation.length]);
    }
  });

  test("may sort what the package sorts by copying", async () => {
    const values = Array.from({ length: 60_000 }, (_, i) => (i * 7919) % 60_000);
    const startedMs = cpuTimeMs();
    expect(await run("$sort(values)[0] + $single([1])", { values })).toBe(1);
    expect(await run("$count($sort(values))", { values })).toBe(60_000);
    expect(cpuTimeMs() - startedMs).toBeLessThan(5_000);
  });

  test.each([
    ["$a", ["D2015"]],
    ["$string($a)", ["D1012"]],
    ["$a & ''", ["D1012"]],
    ["$a = $b", ["D1012"]],
    ["$a ? 1 : 2", ["D1012"]],
    ["$sift({'a': $a}, function($v) { true })", ["D2015"]],
    ["$single([$string($a)])", ["D1012"]],
    ["$single([$a & ''])", ["D1012"]],
    ["$single([$a = $b])", ["D1012"]],
  ])("a value that shares its parts, a tree of 2^40 nodes: %s is stopped", async (source, codes) => {
    const startedMs = cpuTimeMs();
    expect(codes).toContain(jsonataCode(await failureOf(`($a := 1; $b := 1; ${levels}; ${source})`, {})));
    expect(cpuTimeMs() - startedMs).toBeLessThan(10_000);
  });

  test.each([
    ["($f := function($n) { 1 + $f($n + 1) }; $f(0))", ["D1011", "D1012"]],
    ["($f := function($n) { $f($n + 1) }; $f(0))", ["D1012"]],
    ["$map([1..300000], function($a) { $map([1..1000], function($b) { $a * $b }) })", ["D1012"]],
    ["[1..9000000]", ["D2015"]],
    ["$pad('', 900000000)", ["D2015"]],
    ["$contains(long, /^[ab]{500}[0-9]{500}$/)", ["D1012"]],
    ["$match(long, /a.*z|a/)", ["D1012"]],
    ["$single($match(long, /a.*z|a/), function($m) { false })", ["D1012"]],
    ["$join($map([1..1000], function($i) { $$.long }))", ["D2015"]],
    ["[from..from]", ["D2014"]],
    ["$single([from..from], function($v) { true })", ["D2014"]],
    ["$formatInteger(1 / 0, 'A')", ["D1001"]],
    ["$formatNumber(1 / 0, '0.0e0')", ["D1001"]],
    ["$formatNumber(1, '0', {'grouping-separator': ''})", ["T0410"]],
    ["$toMillis(digits, '[f][f][f][f][f][f][f][f][f]x')", ["D3136"]],
    ["$map([1..1000], function($a) { $map([1..10000], function($b) { $a * $b }) })", ["D1012"]],
    ["$reduce(digits ~> $split(''), function($all, $d) { $append($all, [1..100000]) }, [])", ["D1012", "D2015"]],
    ["$count($distinct([1..2000].{'n': $}))", ["D1012"]],
    ["$sort($map(['x','y'], $string), function($l, $r) { $count([1..900000][$ > 0]) > 0 })", ["D1012"]],
    ["$reduce([1..60], function($a, $b) { $a & $a }, 'xxxxxxxx')", ["RangeError", "D2015"]],
  ])("%s is stopped", async (source, codes) => {
    const startedMs = cpuTimeMs();
    expect(codes).toContain(jsonataCode(await failureOf(source, hostile)));
    expect(cpuTimeMs() - startedMs).toBeLessThan(10_000);
  });
});
