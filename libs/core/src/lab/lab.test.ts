import { describe, expect, it } from "vitest";
import type { Plan } from "../plan/plan.ts";
import { type LabDeps, runInLab, runSpecTests } from "./lab.ts";

const plan: Plan = {
  route: "transform>load",
  stages: [{ service: "transform", steps: [{ id: "double", index: 0, operation: "x", config: {}, configHash: "h" }], inputs: ["input"] }],
  sinks: [
    { id: "a", kind: "postgres.insert", service: "load", config: {}, configHash: "h", inputs: [0] },
    { id: "b", kind: "onedata.outputs", service: "engine", config: {}, configHash: "h", inputs: [0] },
  ],
};
const deps: LabDeps = {
  evaluateWhen: () => true,
  monotonicMs: () => 0,
  parse: (text) => JSON.parse(text),
  stringify: (value) => JSON.stringify(value),
  async apply(_service, request) {
    return {
      results: request.groups.flatMap((g) =>
        g.records.map(({ n, json }) => {
          const { v } = JSON.parse(new TextDecoder().decode(json));
          if (v === null)
            return {
              n,
              outcome: {
                $case: "failed" as const,
                value: { step: 0, code: "record.invalid", message: "v is null", retryable: false, retryAfter: undefined, json: new Uint8Array() },
              },
            };
          return { n, outcome: { $case: "outputs" as const, value: { json: [new TextEncoder().encode(JSON.stringify({ v: v * 2 }))] } } };
        }),
      ),
    };
  },
};
const subject = { pipeline: "p", version: 1, tenant: "t", plan };

describe("lab", () => {
  it("collects what every sink would get and writes nothing", async () => {
    const [one, two] = await runInLab(subject, ['{"v":2}', '{"v":null}'], 0, deps);
    expect(one?.outputs).toEqual([
      { sink: 0, json: '{"v":4}' },
      { sink: 1, json: '{"v":4}' },
    ]);
    expect(one?.steps.map((s) => [s.step, s.outcome])).toEqual([["double", "outputs"]]);
    expect(two?.result).toMatchObject({ kind: "dead", causes: [{ step: "double", code: "record.invalid" }] });
  });

  it("judges a spec's tests: values, counts and deaths", async () => {
    const outcomes = await runSpecTests(
      subject,
      [
        { name: "holds", given: [{ v: 1 }, { v: null }], expect: [{ v: 2 }], dead: 1 },
        { name: "wrong value", given: [{ v: 1 }], expect: [{ v: 3 }], dead: 0 },
        { name: "wrong count", given: [{ v: 1 }], expect: [], dead: 0 },
        { name: "a death nobody expects", given: [{ v: null }], expect: [], dead: 0 },
      ],
      deps,
    );
    expect(outcomes.map((o) => [o.name, o.passed, o.detail])).toEqual([
      ["holds", true, ""],
      ["wrong value", false, 'record 0 differs: expected {"v":3}, got {"v":2}'],
      ["wrong count", false, "1 records came out, 0 were expected"],
      ["a death nobody expects", false, "1 of the given records died, 0 should; the first in double: record.invalid: v is null"],
    ]);
  });
});
