import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createRedactor } from "./redact.ts";

const base64 = (text: string): string => Buffer.from(text).toString("base64");
const json = (text: string): string => JSON.stringify(text).slice(1, -1);
/** How a receiver may say what it was sent. */
const ECHOES: Readonly<Record<string, (text: string) => string>> = {
  plain: (text) => text,
  json,
  "json in json": (text) => json(json(text)),
  "json by code": (text) =>
    text
      .split("")
      .map((char) => `\\u00${char.charCodeAt(0).toString(16).padStart(2, "0")}`)
      .join(""),
  "json with escaped slashes": (text) => json(text).replaceAll("/", "\\/"),
  percent: (text) => encodeURIComponent(text),
  "percent, every character": (text) =>
    text
      .split("")
      .map((char) => `%${char.charCodeAt(0).toString(16).padStart(2, "0")}`)
      .join(""),
  form: (text) => new URLSearchParams([["", text]]).toString().slice(1),
  "percent in json": (text) => json(encodeURIComponent(text)),
  html: (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;").replaceAll("'", "&#39;").replaceAll("/", "&#x2F;"),
  upper: (text) => text.toUpperCase(),
};
const HEADERS: Readonly<Record<string, (secret: string) => Record<string, string>>> = {
  bearer: (secret) => ({ Authorization: `Bearer ${secret}` }),
  key: (secret) => ({ "X-Api-Key": secret }),
  basic: (secret) => ({ Authorization: `Basic ${base64(`ola:${secret}`)}` }),
  cookie: (secret) => ({ Cookie: `a=b; session=${secret}` }),
};
// None of what the redactor itself writes, so whatever is found comes from the secret.
const chars = Array.from("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789\"\\/%&+<>'=;,._-~{}");
const secret = (minLength: number) => fc.array(fc.constantFrom(...chars), { minLength, maxLength: 60 }).map((all) => all.join(""));
const pieces = (text: string, length: number): string[] =>
  text.length <= length ? [text] : Array.from({ length: text.length - length + 1 }, (_, at) => text.slice(at, at + length));
const around = fc.tuple(fc.integer({ min: 0, max: 260 }), fc.integer({ min: 0, max: 60 }));

describe("what a receiver says", () => {
  it("never shows a secret of any length, at any offset, however it was escaped", () => {
    fc.assert(
      fc.property(
        secret(1),
        fc.constantFrom("bearer", "key", "basic"),
        fc.constantFrom(...Object.keys(ECHOES)),
        around,
        (text, header, echo, [before, after]) => {
          const echoed = ECHOES[echo]?.(text) ?? "";
          const shown = createRedactor(HEADERS[header]?.(text) ?? {}).quote(`${"·".repeat(before)}${echoed}${"·".repeat(after)}`, 200);
          expect(shown.length).toBeLessThanOrEqual(201);
          for (const form of [text, echoed]) for (const piece of pieces(form, text.length < 6 ? form.length : 36)) expect(shown).not.toContain(piece);
          for (const piece of pieces(text, 6)) expect(shown).not.toContain(piece);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it("shows no piece of six characters of a secret that others have cut", () => {
    fc.assert(
      fc.property(
        secret(6),
        fc.constantFrom(...Object.keys(HEADERS)),
        fc.constantFrom(...Object.keys(ECHOES)),
        fc.tuple(fc.nat(60), fc.nat(60)),
        around,
        (text, header, echo, [one, other], [before, after]) => {
          const [from, to] = [Math.min(one, other), Math.max(one, other)];
          const echoed = ECHOES[echo]?.(text.slice(from, to)) ?? "";
          const shown = createRedactor(HEADERS[header]?.(text) ?? {}).quote(`${"·".repeat(before)}${echoed}${"·".repeat(after)}`, 200);
          for (const piece of pieces(text, 6)) expect(shown).not.toContain(piece);
        },
      ),
      { numRuns: 700 },
    );
  });

  it("shows no piece of a text in Base64 or hex that holds a secret", () => {
    fc.assert(
      fc.property(secret(9), fc.nat(5), fc.constantFrom("base64", "base64url", "hex"), around, (text, lead, encoding, [before, after]) => {
        const bits = encoding === "hex" ? 4 : 6;
        const encoded = Buffer.from(`${"u".repeat(lead)}${text}`).toString(encoding);
        const inside = encoded.slice(Math.ceil((lead * 8) / bits), Math.floor(((lead + text.length) * 8) / bits));
        const shown = createRedactor({ "X-Api-Key": text }).quote(`${"·".repeat(before)}${encoded}${"·".repeat(after)}`, 200);
        for (const piece of pieces(inside, 6)) expect(shown).not.toContain(piece);
      }),
      { numRuns: 500 },
    );
  });

  it("shows neither Basic credentials nor the user and password they encode", () => {
    const credentials = base64("ola:opensesame");
    const redactor = createRedactor({ authorization: `Basic ${credentials}` });
    expect(redactor.quote(`wrong: Basic ${credentials}, that is ola:opensesame, password opensesame`, 200)).toBe(
      "wrong: Basic ***, that is ***, password ***",
    );
  });

  it("keeps the rest, and says where it was cut", () => {
    const redactor = createRedactor({ Authorization: "Bearer s3cret", "X-Key": "abcd" });
    expect(redactor.quote(' {"error":"token s3cret has expired","key":"abcd"}\n', 200)).toBe('{"error":"token *** has expired","key":"***"}');
    expect(redactor.quote("a bearer is missing, %41 \\u0041 &amp; such stay", 200)).toBe("a bearer is missing, %41 \\u0041 &amp; such stay");
    expect(redactor.quote("x".repeat(201), 200)).toBe(`${"x".repeat(200)}…`);
    expect(redactor.quote("", 200)).toBe("");
  });

  it("is not shown at all when it holds a secret of one to three characters", () => {
    const redactor = createRedactor({ "X-Key": "k7!" });
    expect(redactor.quote("key k7! is unknown", 200)).toMatch(/^\(not shown/);
    expect(redactor.quote("key k7%21 is unknown", 200)).toMatch(/^\(not shown/);
    expect(redactor.quote("the key is unknown", 200)).toBe("the key is unknown");
    expect(redactor.redact("http://k7!.example: ECONNREFUSED")).toBe("http://k7!.example: ECONNREFUSED");
  });

  it("may be a long run of escapes, and so may the secret", () => {
    const redactor = createRedactor({ "X-Key": `${"\\".repeat(4000)}${"a".repeat(4000)}` });
    for (const text of ["\\", "a", "&#92;", "\\u005c"]) expect(redactor.quote(text.repeat(65_536 / text.length), 200)).toMatch(/^\*\*\*.{0,5}$/);
    expect(redactor.quote("%".repeat(65_536), 200)).toBe(`${"%".repeat(200)}…`);
  });
});
