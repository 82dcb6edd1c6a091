/**
 * Runs a checked spec over records and writes nothing. The executor is the engine's own; the sinks only collect.
 * Invariant: a spec with a step that writes is refused (`refuseWrites`), since a trial must have no effect.
 */

import type { TransformServiceDefinition } from "@onedata/contracts";
import {
  type Catalogue,
  type LabDeps,
  type LabRecord,
  OneDataError,
  type PipelineSpec,
  type Plan,
  runInLab,
  runSpecTests,
  type TenantId,
  type TestOutcome,
  type Violation,
} from "@onedata/core";
import { parseJson, stringifyJson } from "@onedata/formats";
import type { Client } from "@onedata/mesh";
import { createEvaluateWhen } from "@onedata/operations";
import type { SinkChecker } from "../services/sink-checker.ts";
import type { CheckedSpec } from "../spec/check-spec.ts";

export interface Lab {
  /** One outcome per test of the spec. Throws the fault of a service that cannot do its work. */
  test(tenantId: TenantId, checked: CheckedSpec, signal: AbortSignal): Promise<TestOutcome[]>;
  /** One result per record text. */
  run(
    tenantId: TenantId,
    checked: CheckedSpec,
    run: { readonly records: readonly string[]; readonly timeUnixMs: number; readonly signal: AbortSignal },
  ): Promise<LabRecord[]>;
  /** The same with a plan as it was stored, which is what runs. */
  runPlan(
    tenantId: TenantId,
    planned: { readonly pipeline: string; readonly plan: Plan },
    run: { readonly records: readonly string[]; readonly timeUnixMs: number; readonly signal: AbortSignal },
  ): Promise<LabRecord[]>;
}

/** Of a stored version. Written by the planner and immutable since: its shape is not checked again. */
export const toPlan = (planJson: string): Plan => parseJson(planJson) as unknown as Plan;

export type LabPorts = {
  /** Client of a transform service by the name it gives in Describe. */
  readonly transform: (service: string) => Pick<Client<typeof TransformServiceDefinition>, "apply"> | undefined;
  readonly sinks: SinkChecker;
};

export function createLab({ transform, sinks }: LabPorts): Lab {
  const evaluateWhen = createEvaluateWhen();
  const depsFor = (tenantId: TenantId, signal: AbortSignal): LabDeps => ({
    evaluateWhen,
    monotonicMs: () => performance.now(),
    parse: parseJson,
    stringify: stringifyJson,
    connection: (_tenant, name) => sinks.readConnection(tenantId, name),
    apply(service, request) {
      const client = transform(service);
      if (client === undefined)
        throw new OneDataError("service.unavailable", `no address is known for the transform service ${JSON.stringify(service)}`);
      return client.apply(request, { signal });
    },
  });
  const subjectOf = (tenantId: TenantId, { spec, plan }: CheckedSpec) => ({ pipeline: spec.name, version: 0, tenant: String(tenantId), plan });
  return {
    test: (tenantId, checked, signal) => runSpecTests(subjectOf(tenantId, checked), checked.spec.tests, depsFor(tenantId, signal)),
    run: (tenantId, checked, { records, timeUnixMs, signal }) =>
      runInLab(subjectOf(tenantId, checked), records, timeUnixMs, depsFor(tenantId, signal)),
    runPlan: (tenantId, planned, { records, timeUnixMs, signal }) =>
      runInLab({ ...planned, version: 0, tenant: String(tenantId) }, records, timeUnixMs, depsFor(tenantId, signal)),
  };
}

export function refuseWrites(spec: PipelineSpec, catalogue: Catalogue): Violation[] {
  return spec.steps.flatMap((step, i): Violation[] => {
    if (catalogue.get(step.use)?.description.effects !== "write") return [];
    return [{ pointer: `/steps/${i}`, code: "spec.writes", detail: `${step.use} has effects; a trial runs nothing that writes` }];
  });
}
