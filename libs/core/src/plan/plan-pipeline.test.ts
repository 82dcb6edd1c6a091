import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import type { Json } from "../json.ts";
import type { OperationDescription, OperationShape } from "../operation.ts";
import type { Catalogue, CatalogueEntry } from "./plan.ts";
import { planPipeline } from "./plan-pipeline.ts";
import { readSpec } from "./spec.ts";

const describeOperation = (name: string, shape: OperationShape = "map", needsConnection = false): OperationDescription => ({
  name,
  title: name,
  doc: "",
  shape,
  effects: "none",
  configSchema: {},
  examples: [],
  needsConnection,
});
const entry = (kind: CatalogueEntry["kind"], service: string, description: OperationDescription): [string, CatalogueEntry] => [
  description.name,
  { kind, service, description },
];
const catalogue: Catalogue = new Map([
  entry("operation", "transform", describeOperation("record.map")),
  entry("operation", "transform", describeOperation("record.filter", "filter")),
  entry("operation", "scoring", describeOperation("scoring.rank")),
  entry("operation", "transform", describeOperation("record.group", "batch")),
  entry("sink", "engine", describeOperation("onedata.outputs")),
  entry("sink", "load", describeOperation("postgres.upsert", "map", true)),
]);
const hash = (text: string): string => createHash("sha256").update(text).digest("hex");

function plan(document: Json) {
  const { spec, violations } = readSpec(document);
  if (spec === undefined) return { plan: undefined, violations };
  return planPipeline(spec, catalogue, { hash });
}
const codes = (document: Json) => plan(document).violations.map((v) => `${v.pointer} ${v.code}`);
const map = (id: string, more: Record<string, Json> = {}): Json => ({ id, use: "record.map", with: { set: {} }, ...more });

describe("planPipeline", () => {
  it("fuses neighbours of one service and names the route", () => {
    const { plan: made } = plan({ name: "p", steps: [map("a"), { id: "b", use: "record.filter" }, { id: "c", use: "scoring.rank" }, map("d")] });
    expect(made?.stages.map((s) => [s.service, s.steps.map((x) => x.id), s.inputs])).toEqual([
      ["transform", ["a", "b"], ["input"]],
      ["scoring", ["c"], [0]],
      ["transform", ["d"], [1]],
    ]);
    expect(made?.route).toBe("transform,scoring,transform>engine");
    expect(made?.sinks[0]).toMatchObject({ kind: "onedata.outputs", inputs: [2] });
  });

  it("keeps how often each of fused steps, and a sink, tries again", () => {
    const { plan: made } = plan({
      name: "p",
      steps: [map("a", { retries: 0 }), map("b"), map("c", { retries: 9 })],
      sinks: [{ use: "onedata.outputs", retries: 2 }],
    });
    expect(made?.stages.map((s) => s.steps.map((x) => x.retries))).toEqual([[0, undefined, 9]]);
    expect(made?.sinks[0]?.retries).toBe(2);
  });

  it("keeps a step with when alone", () => {
    const { plan: made } = plan({ name: "p", steps: [map("a"), map("b", { when: "x = 1" }), map("c")] });
    expect(made?.stages.map((s) => s.steps.map((x) => x.id))).toEqual([["a"], ["b"], ["c"]]);
  });

  it("does not fuse across a result that a sink reads", () => {
    const { plan: made } = plan({
      name: "p",
      steps: [map("a"), map("b")],
      sinks: [
        { use: "onedata.outputs", from: ["a"] },
        { use: "postgres.upsert", with: { connection: "w" } },
      ],
    });
    expect(made?.stages.map((s) => s.steps.map((x) => x.id))).toEqual([["a"], ["b"]]);
    expect(made?.sinks.map((s) => [s.id, s.inputs])).toEqual([
      ["onedata-outputs", [0]],
      ["postgres-upsert", [1]],
    ]);
  });

  it("joins several needs in their order", () => {
    const { plan: made } = plan({ name: "p", steps: [map("a"), map("b", { needs: [] }), map("c", { needs: ["b", "a"] })] });
    expect(made?.stages.at(-1)?.inputs).toEqual([1, 0]);
  });

  it.each<[string, Json, string[]]>([
    ["an unknown operation", { name: "p", steps: [{ id: "a", use: "record.mpa" }] }, ["/steps/0/use spec.unknown_operation"]],
    [
      "a cycle",
      { name: "p", steps: [map("a", { needs: ["b"] }), map("b", { needs: ["a"] })] },
      ["/steps/0/needs spec.cycle", "/steps/1/needs spec.cycle"],
    ],
    ["a step that needs itself", { name: "p", steps: [map("a", { needs: ["a"] })] }, ["/steps/0/needs spec.cycle"]],
    ["an unknown need", { name: "p", steps: [map("a", { needs: ["z"] })] }, ["/steps/0/needs/0 spec.unknown_step"]],
    ["an id used twice", { name: "p", steps: [map("a"), map("a", { needs: [] })] }, ["/steps/1/id spec.duplicate_id"]],
    [
      "a result that reaches no sink",
      { name: "p", steps: [map("a"), map("b", { needs: [] })], sinks: [{ use: "onedata.outputs", from: ["a"] }] },
      ["/steps/1 spec.unreachable"],
    ],
    ["a sink as a step", { name: "p", steps: [{ id: "a", use: "postgres.upsert" }] }, ["/steps/0/use spec.unknown_operation"]],
    ["a sink with no connection", { name: "p", sinks: [{ use: "postgres.upsert" }] }, ["/sinks/0/with/connection spec.required"]],
    ["a batch operation", { name: "p", steps: [{ id: "a", use: "record.group" }] }, ["/steps/0/use spec.batch_without_unit"]],
    ["an unknown member", { name: "p", step: [] }, ["/step spec.unknown_member"]],
    ["a bad name", { name: "P 1" }, ["/name spec.name"]],
    ["a list in place of a spec", [], [" spec.type"]],
  ])("refuses %s with its place", (_name, document, expected) => {
    expect(codes(document)).toEqual(expected);
  });

  it("gives a connection to an operation that asks for one, where the config names it; the schema says whether it must", () => {
    const asking: OperationDescription = {
      ...describeOperation("enrich.lookup", "map", true),
      configSchema: { properties: { connection: { type: "string" } }, required: ["table"] },
    };
    const wider: Catalogue = new Map([...catalogue, entry("operation", "transform", asking)]);
    const { spec } = readSpec({
      name: "p",
      steps: [
        { id: "table", use: "enrich.lookup", with: { connection: "w", table: "t" } },
        { id: "list", use: "enrich.lookup", with: { table: "t" } },
        { id: "own", use: "record.map", with: { connection: "w" } },
      ],
    });
    const { plan: made, violations } = planPipeline(spec ?? expect.fail("a spec"), wider, { hash });
    expect(violations).toEqual([]);
    expect(made?.stages.flatMap(({ steps }) => steps.map(({ connection }) => connection))).toEqual(["w", undefined, undefined]);
  });

  it("suggests the operation that was meant", () => {
    expect(plan({ name: "p", steps: [{ id: "a", use: "record.mpa" }] }).violations[0]?.detail).toContain('did you mean "record.map"?');
  });
});
