import { PassThrough, Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { createPrinter } from "../output/printer.ts";
import type { Session } from "../session.ts";
import type { Terminal } from "../terminal.ts";
import { editJson, indentJson, problemOf } from "./edit-json.ts";

const session = (editor?: string): Session => {
  const terminal: Terminal = {
    env: editor === undefined ? {} : { EDITOR: editor, PATH: "/usr/bin:/bin" },
    stdin: Readable.from([]),
    stdout: new PassThrough(),
    stderr: new PassThrough(),
    signal: new AbortController().signal,
  };
  return {
    terminal,
    out: createPrinter(terminal, { isJson: false, color: false }),
    signal: terminal.signal,
    report: () => undefined,
    api: () => expect.fail(),
  };
};

describe("a payload in an editor", () => {
  it("is indented, and every literal stays as it was written", () => {
    expect(indentJson('{"a":1.10,"b":[],"c":{ },"d":[1e400,{"e":"x, {y}: \\"z\\""}],"f":12345678901234567890}')).toBe(
      '{\n  "a": 1.10,\n  "b": [],\n  "c": {},\n  "d": [\n    1e400,\n    {\n      "e": "x, {y}: \\"z\\""\n    }\n  ],\n  "f": 12345678901234567890\n}',
    );
    expect(indentJson("-0")).toBe("-0");
    expect(indentJson('[[],[{}],"[{"]')).toBe('[\n  [],\n  [\n    {}\n  ],\n  "[{"\n]');
  });

  it("comes back as it was left, or as nothing when it was not changed", () => {
    expect(editJson(session("sed -i s/12/13/"), "evt_1_0", '{"a":12}')).toBe('{\n  "a": 13\n}\n');
    expect(editJson(session("true"), "evt_1_0", '{"a":12}')).toBeUndefined();
  });

  it("is refused when the editor fails, is missing, or leaves no JSON", () => {
    expect(() => editJson(session("false"), "evt_1_0", "{}")).toThrow("nothing was done");
    expect(() => editJson(session(), "evt_1_0", "{}")).toThrow("--payload");
    expect(() => editJson(session("sed -i s/12/oops/"), "evt_1_0", '{"a":12}')).toThrow("no JSON");
    expect(problemOf('{"a":1}')).toBeUndefined();
  });
});
