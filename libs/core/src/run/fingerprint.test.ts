import fc from "fast-check";
import { expect, it } from "vitest";
import { fingerprintOf, shapeOf } from "./fingerprint.ts";

it("gives causes that differ only in values one fingerprint", () => {
  const cause = { step: "valid", code: "record.invalid" };
  expect(fingerprintOf({ ...cause, message: '/total: -3 is below 0 in "a"' })).toBe(
    fingerprintOf({ ...cause, message: '/total: -12.5 is below 0 in "bc"' }),
  );
  expect(fingerprintOf({ ...cause, message: "/total is missing" })).not.toBe(fingerprintOf({ ...cause, message: "/price is missing" }));
  expect(shapeOf('no key "x" in 12')).toBe('no key "…" in #');
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
