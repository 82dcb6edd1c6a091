import { ExactNumber, type Json, OneDataError } from "@onedata/core";
import fc from "fast-check";
import { parse as parseLossless } from "lossless-json";
import { describe, expect, it } from "vitest";
import { parseJson, stringifyJson, survivesAsDouble } from "./json.ts";
import { checkJsonBytes, checkJsonText } from "./json-check.ts";
import { locateJsonError } from "./json-error.ts";

const roundTrip = (text: string): string => stringifyJson(parseJson(text));

describe("parseJson and stringifyJson", () => {
  it.each([
    ["12345678901234567890", "12345678901234567890"],
    ["[9007199254740993]", "[9007199254740993]"],
    ['{"a":1e400}', '{"a":1e400}'],
    ['{"a":-1E-400}', '{"a":-1E-400}'],
    ["-0", "-0"],
    ['{"z":-0.0,"y":-0.5}', '{"z":-0.0,"y":-0.5}'],
    ["[0.1234567890123456789]", "[0.1234567890123456789]"],
    ["1.10", "1.1"],
    ["[0.30000000000000004]", "[0.30000000000000004]"],
    ["1e22", "1e+22"],
    ["[100000000000000000000]", "[100000000000000000000]"],
    ['{"a":1.10,"b":12345678901234567890,"c":"\\u0000"}', '{"a":1.1,"b":12345678901234567890,"c":"\\u0000"}'],
    ['{"__proto__":{"x":12345678901234567890},"y":1}', '{"__proto__":{"x":12345678901234567890},"y":1}'],
    ['{"__proto__":1}', '{"__proto__":1}'],
    ['["#0:1","\\u00230:2","#1:",12345678901234567890]', '["#0:1","#0:2","#1:",12345678901234567890]'],
    ['{"text":"1"}', '{"text":"1"}'],
    ['[{"text":"1"},12345678901234567890]', '[{"text":"1"},12345678901234567890]'],
    ['{"a":1,"a":12345678901234567890}', '{"a":12345678901234567890}'],
    ['["12345678901234567890, 1e400 \\" -0 "]', '["12345678901234567890, 1e400 \\" -0 "]'],
  ])("%s comes back as %s", (text, expected) => {
    expect(roundTrip(text)).toBe(expected);
  });

  it("keeps __proto__ an own member, and the prototype clean", () => {
    const value = parseJson('{"__proto__":{"admin":true},"n":12345678901234567890}');
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(Object.keys(value ?? {})).toEqual(["__proto__", "n"]);
  });

  it("throws a SyntaxError for what JSON.parse refuses, also beside exact numbers", () => {
    for (const text of ["", "{", "[12345678901234567890", "[01234567890123456789]", "[1.]", "nul", "[1e400,]"])
      expect(() => parseJson(text)).toThrow(SyntaxError);
  });

  it("carries every number literal by value", () => {
    const digits = fc.array(fc.constantFrom(..."0123456789".split("")), { minLength: 1, maxLength: 24 }).map((d) => d.join(""));
    const literal = fc
      .record({ minus: fc.boolean(), whole: digits, fraction: fc.option(digits), exponent: fc.option(fc.integer({ min: -420, max: 420 })) })
      .map(
        (n) =>
          `${n.minus ? "-" : ""}${n.whole.replace(/^0+(?=\d)/, "")}${n.fraction === null ? "" : `.${n.fraction}`}${n.exponent === null ? "" : `e${n.exponent}`}`,
      );
    fc.assert(
      fc.property(literal, (text) => {
        const value = parseJson(`{"a":[${text}]}`);
        const reference = decimal(text);
        const again = decimal(stringifyJson(value).slice(6, -2));
        expect(again).toEqual(reference);
      }),
      { numRuns: 2000 },
    );
  });

  it("agrees with the reference library on whole documents", () => {
    const document = fc.json({ maxDepth: 4 }).filter((text) => !text.includes("__proto__"));
    fc.assert(
      fc.property(document, fc.bigInt({ min: 10n ** 17n, max: 10n ** 30n }), (text, big) => {
        const both = `[${text},${big}]`;
        const reference = parseLossless(both, null, (n) => (survivesAsDouble(n) ? Number(n) : new ExactNumber(n)));
        const value = parseJson(both);
        expect(plain(value)).toEqual(plain(reference));
        expect(parseJson(stringifyJson(value))).toEqual(value);
      }),
    );
  });
});

describe("checkJsonBytes", () => {
  const code = (run: () => unknown): string => {
    try {
      run();
    } catch (error) {
      if (error instanceof OneDataError) return `${error.code}: ${error.message}`;
    }
    return "passed";
  };
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

  it("returns the text as it was sent, and its value", () => {
    expect(checkJsonBytes(bytes(' {"a" : 1.10}\n'))).toEqual({ text: ' {"a" : 1.10}\n', value: { a: 1.1 } });
  });

  it("says where the JSON breaks", () => {
    expect(code(() => checkJsonBytes(bytes('{\n  "a": 1,\n  "b": nope}')))).toBe(
      'capture.json_malformed: line 3, column 8: expected a value, found "nope}"',
    );
    expect(code(() => checkJsonBytes(bytes("")))).toMatch(/^capture.json_malformed: the payload is empty/);
    expect(code(() => checkJsonBytes(bytes('\ufeff{"a":1}')))).toMatch(/byte order mark/);
  });

  it("refuses what is too large, too deep, or not UTF-8", () => {
    expect(code(() => checkJsonBytes(bytes(`"${"x".repeat(100)}"`), { maxBytes: 100, maxDepth: 64 }))).toMatch(
      /^request.too_large: the payload has 102 bytes/,
    );
    expect(code(() => checkJsonText("[".repeat(65) + "]".repeat(65)))).toMatch(/nested deeper than 64/);
    expect(code(() => checkJsonText("[".repeat(64) + "]".repeat(64)))).toBe("passed");
    expect(code(() => checkJsonText(JSON.stringify("[{".repeat(100))))).toBe("passed");
    expect(code(() => checkJsonText(`[${"[],".repeat(100)}0]`))).toBe("passed");
    expect(code(() => checkJsonBytes(Buffer.from([0x22, 0xc3, 0xa5, 0xff, 0x22])))).toMatch(/^capture.utf8_invalid: byte 0xff at offset 3/);
    expect(code(() => checkJsonBytes(bytes("[".repeat(200_000)), { maxBytes: 1e6, maxDepth: 64 }))).toMatch(/nested deeper/);
  });

  it("locates an error exactly where JSON.parse refuses the text", () => {
    const broken = fc
      .tuple(fc.json(), fc.nat(), fc.constantFrom("", "x", '"', ",", "}", "]", ":", "\\", "\u0001", "1", "'"))
      .map(([text, at, insert]) => {
        const k = at % (text.length + 1);
        return text.slice(0, k) + insert + text.slice(k + (insert === "" ? 1 : 0));
      });
    fc.assert(
      fc.property(broken, (text) => {
        let refused = false;
        try {
          JSON.parse(text);
        } catch {
          refused = true;
        }
        expect(locateJsonError(text) !== undefined).toBe(refused);
      }),
      { numRuns: 3000 },
    );
  });
});

/** Sign, digits and exponent as big integers: the value of a literal without any double. */
function decimal(text: string): string {
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (match === null) return `not a number: ${text}`;
  let digits = BigInt((match[2] ?? "") + (match[3] ?? ""));
  let exponent = BigInt(match[4] ?? "0") - BigInt((match[3] ?? "").length);
  if (digits === 0n) return `${match[1]}0`;
  while (digits % 10n === 0n) {
    digits /= 10n;
    exponent += 1n;
  }
  return `${match[1]}${digits}e${exponent}`;
}

/** For comparing across libraries: exact numbers as marked text. */
function plain(value: unknown): unknown {
  if (value instanceof ExactNumber) return `exact ${value.text}`;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value as Record<string, Json>).map(([k, v]) => [k, plain(v)]));
  return value;
}
