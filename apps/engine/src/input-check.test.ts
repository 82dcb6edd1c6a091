import type { Json, Plan, RunEvent } from "@onedata/core";
import { describe, expect, it } from "vitest";
import { createInputCheck } from "./input-check.ts";

const check = createInputCheck();
const groupOf = (inputSchema: Json | undefined) => {
  const plan: Plan = { route: "", stages: [], sinks: [], ...(inputSchema === undefined ? {} : { inputSchema }) };
  return { pipeline: "p", version: 1, tenant: "1", plan, events: [] };
};
const event = (json: string, unchecked: boolean): RunEvent => ({
  source: { batchId: 1n, seq: 1n, n: 0, generation: 0 },
  json: new TextEncoder().encode(json),
  timeUnixNanos: 0n,
  ...(unchecked ? { unchecked: true } : {}),
});
const strict = groupOf({ type: "object", required: ["a", "b", "c", "d", "e"] });

describe("the input check", () => {
  it("looks at unchecked events only, and only where there is a schema", () => {
    expect(check(strict, event("{}", false))).toBeUndefined();
    expect(check(groupOf(undefined), event("{}", true))).toBeUndefined();
    expect(check(strict, event('{"a":1,"b":1,"c":1,"d":1,"e":1}', true))).toBeUndefined();
  });

  it("names the first few violations and counts the rest", () => {
    const problem = check(strict, event("{}", true));
    expect(problem?.code).toBe("input.invalid");
    expect(problem?.message).toMatch(/^the event does not match the pipeline's input schema: .*; and 2 more$/);
  });

  it("answers for text it cannot read and for a schema it cannot use", () => {
    expect(check(strict, event("{", true))?.message).toMatch(/cannot be read as JSON/);
    expect(check(groupOf({ type: "no such type" }), event("{}", true))).toMatchObject({
      code: "input.invalid",
      message: expect.stringContaining("input schema cannot be used"),
    });
  });
});
