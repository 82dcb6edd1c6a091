import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, it } from "vitest";
import type { Catalogue, CatalogueEntry } from "./plan.ts";
import { planPipeline } from "./plan-pipeline.ts";
import { type PipelineSpec, readSpec } from "./spec.ts";

const SERVICES = ["alpha", "beta"];
const entry = (name: string, service: string, kind: CatalogueEntry["kind"]): [string, CatalogueEntry] => [
  name,
  { service, kind, description: { name, title: "", doc: "", shape: "map", effects: "none", configSchema: {}, examples: [] } },
];
const catalogue: Catalogue = new Map([
  ...SERVICES.map((service) => entry(`${service}.do`, service, "operation")),
  entry("onedata.outputs", "engine", "sink"),
]);
const hash = (text: string): string => createHash("sha256").update(text).digest("hex");

/** Any DAG: a step needs some of those before it (none given = the one before), then the document is shuffled. */
const specs = fc
  .array(
    fc.record({
      service: fc.constantFrom(...SERVICES),
      needs: fc.option(fc.array(fc.nat(), { maxLength: 3 }), { nil: undefined }),
      when: fc.boolean(),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .chain((steps) => {
    const made = steps.map(({ service, needs, when }, i) => ({
      id: `s${i}`,
      use: `${service}.do`,
      with: {},
      needs: [...new Set((needs ?? [i]).filter(() => i > 0).map((n) => `s${n % i}`))],
      ...(when ? { when: "true" } : {}),
    }));
    return fc.shuffledSubarray(made, { minLength: made.length, maxLength: made.length }).map((shuffled) => ({ name: "p", steps: shuffled }));
  });

function plan(document: Parameters<typeof readSpec>[0], fuse: boolean) {
  const { spec, violations } = readSpec(document);
  expect(violations).toEqual([]);
  return { spec, ...planPipeline(spec ?? ({} as PipelineSpec), catalogue, { hash, fuse }) };
}

it("plans every DAG: each step once, after all it needs, and fusion changes no lineage", () => {
  fc.assert(
    fc.property(specs, (document) => {
      const { spec, plan: fused, violations } = plan(document, true);
      expect(violations).toEqual([]);
      const order = fused?.stages.flatMap((stage) => stage.steps.map((step) => step.id)) ?? [];
      expect([...order].sort()).toEqual(spec?.steps.map((step) => step.id).sort());

      const lineage = lineageOf(fused);
      expect(lineage).toEqual(lineageOf(plan(document, false).plan));
      for (const step of spec?.steps ?? []) expect(lineage.get(step.id)).toEqual(step.needs?.length === 0 ? ["input"] : step.needs);
      for (const stage of fused?.stages ?? []) {
        expect(new Set(stage.steps.map((step) => step.operation)).size).toBe(1);
        if (stage.when !== undefined) expect(stage.steps).toHaveLength(1);
        for (const input of stage.inputs) if (input !== "input") expect(input).toBeLessThan(fused?.stages.indexOf(stage) ?? 0);
      }
    }),
  );
});

/** What each step reads: the last step of its input stages, or the step before it in its own stage. */
function lineageOf(plan: ReturnType<typeof planPipeline>["plan"]): Map<string, string[]> {
  const reads = new Map<string, string[]>();
  for (const stage of plan?.stages ?? []) {
    stage.steps.forEach((step, i) => {
      const before = stage.steps[i - 1];
      reads.set(
        step.id,
        before === undefined
          ? stage.inputs.map((input) => (input === "input" ? "input" : (plan?.stages[input]?.steps.at(-1)?.id ?? "?")))
          : [before.id],
      );
    });
  }
  return reads;
}
