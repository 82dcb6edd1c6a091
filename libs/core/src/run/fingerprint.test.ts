import fc from "fast-check";
import { expect, it } from "vitest";
import { fingerprintOf, shapeOf, toldShapeOf } from "./fingerprint.ts";

it("gives causes that differ only in values one fingerprint", () => {
  const cause = { step: "valid", code: "record.invalid" };
  expect(fingerprintOf({ ...cause, message: '/total: -3 is below 0 in "a"' })).toBe(
    fingerprintOf({ ...cause, message: '/total: -12.5 is below 0 in "bc"' }),
  );
  expect(fingerprintOf({ ...cause, message: "/total is missing" })).not.toBe(fingerprintOf({ ...cause, message: "/price is missing" }));
  expect(shapeOf('no key "x" in 12')).toBe('no key "…" in #');
});

it("is told with host, port, status and codes, and with no value", () => {
  expect(toldShapeOf("http://127.0.0.1:9099/in/4711 answers 500: cannot do 12 of 0123456789abcdef")).toBe(
    "http://127.0.0.1:9099/in/# answers 500: cannot do # of #",
  );
  expect(toldShapeOf('failed at position 17: D3030 Unable to cast value to a number: "12 EUR"')).toBe(
    'failed at position #: D3030 Unable to cast value to a number: "…"',
  );
  expect(toldShapeOf('SQLSTATE 23505: key (id)=(42), "http://10.0.0.1:80/a answers 404"')).toBe('SQLSTATE 23505: key (id)=(#), "…"');
  // Neither a password nor what only looks like an address.
  expect(toldShapeOf("http://user:4711@host:80/ answers 4711")).toBe("http://user:#@host:#/ answers #");
  // The fingerprint keeps its own.
  expect(shapeOf("http://127.0.0.1:9099/in answers 500")).toBe("http://#:#/in answers #");
});

it("is 64-bit FNV-1a over UTF-16 units", () => {
  const reference = (text: string): string => {
    let hash = 0xcbf29ce484222325n;
    for (let i = 0; i < text.length; i++) hash = BigInt.asUintN(64, (hash ^ BigInt(text.charCodeAt(i))) * 0x100000001b3n);
    return hash.toString(16).padStart(16, "0");
  };
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z ]{0,40}$/), (code) => {
      expect(fingerprintOf({ step: "s", code, message: "m" })).toBe(reference(`s\n${code}\nm`));
    }),
  );
});
