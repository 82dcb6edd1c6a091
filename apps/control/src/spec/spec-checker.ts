/** Checks a tenant's specs against what that tenant has: variables, catalogue, connections, tables of lookups, sinks. */
import type { PlanStep, TenantId } from "@onedata/core";
import type { Sql } from "@onedata/store";
import { findLookup, readVariables } from "@onedata/store/control";
import type { CatalogueReader } from "../catalogue/catalogue.ts";
import type { SinkChecker } from "../services/sink-checker.ts";
import type { StepChecker } from "../services/step-checker.ts";
import { type CheckedSpec, checkSpec, type SpecToCheck } from "./check-spec.ts";

export interface SpecChecker {
  /** All checks, the sinks' too. Throws `pipeline.invalid` with all problems. */
  check(tenantId: TenantId, spec: SpecToCheck, signal: AbortSignal): Promise<CheckedSpec>;
  /** For runs that write nothing: sinks are planned and not checked, every step stands alone. With `signal` the tables that steps look into are checked. */
  checkForLab(tenantId: TenantId, spec: SpecToCheck, signal?: AbortSignal): Promise<CheckedSpec>;
}

export type SpecCheckerPorts = {
  readonly sql: Sql;
  readonly catalogue: CatalogueReader;
  readonly sinks: SinkChecker;
  readonly steps: StepChecker;
};

export function createSpecChecker({ sql, catalogue, sinks, steps }: SpecCheckerPorts): SpecChecker {
  const surroundings = async (tenantId: TenantId) => ({
    variables: await readVariables(sql, tenantId),
    catalogue: (wanted: readonly string[]) => catalogue.read(wanted),
    unreachable: () => [...catalogue.unreachable.keys()],
    isConnection: (name: string) => sinks.hasConnection(tenantId, name),
    isLookup: async (name: string) => (await findLookup(sql, tenantId, name)) !== undefined,
  });
  return {
    check: async (tenantId, spec, signal) =>
      checkSpec(spec, {
        ...(await surroundings(tenantId)),
        checkSink: (sink) => sinks.check(tenantId, sink, signal),
        checkStep: (step, service) => steps.check(tenantId, step, service, signal),
      }),
    checkForLab: async (tenantId, spec, signal) => {
      const around = await surroundings(tenantId);
      if (signal === undefined) return checkSpec({ ...spec, fuse: false }, around);
      // A database that is away is no fault of the spec: the run says so, if its records need it.
      const checkStep = async (step: PlanStep, service: string) =>
        (await steps.check(tenantId, step, service, signal)).filter(({ code }) => code !== "connection.unavailable");
      return checkSpec({ ...spec, fuse: false }, { ...around, checkStep });
    },
  };
}
