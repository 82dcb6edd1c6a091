/** Checks a tenant's specs against what that tenant has: variables, catalogue, connections, sinks. */
import type { TenantId } from "@onedata/core";
import type { Sql } from "@onedata/store";
import { findLookup, readVariables } from "@onedata/store/control";
import type { CatalogueReader } from "../catalogue/catalogue.ts";
import type { SinkChecker } from "../services/sink-checker.ts";
import { type CheckedSpec, checkSpec, type SpecToCheck } from "./check-spec.ts";

export interface SpecChecker {
  /** All checks, the sinks' too. Throws `pipeline.invalid` with all problems. */
  check(tenantId: TenantId, spec: SpecToCheck, signal: AbortSignal): Promise<CheckedSpec>;
  /** For runs that write nothing: sinks are planned and not checked, every step stands alone. */
  checkForLab(tenantId: TenantId, spec: SpecToCheck): Promise<CheckedSpec>;
}

export function createSpecChecker({ sql, catalogue, sinks }: { sql: Sql; catalogue: CatalogueReader; sinks: SinkChecker }): SpecChecker {
  const surroundings = async (tenantId: TenantId) => ({
    variables: await readVariables(sql, tenantId),
    catalogue: (wanted: readonly string[]) => catalogue.read(wanted),
    unreachable: () => [...catalogue.unreachable.keys()],
    isConnection: (name: string) => sinks.hasConnection(tenantId, name),
    isLookup: async (name: string) => (await findLookup(sql, tenantId, name)) !== undefined,
  });
  return {
    check: async (tenantId, spec, signal) =>
      checkSpec(spec, { ...(await surroundings(tenantId)), checkSink: (sink) => sinks.check(tenantId, sink, signal) }),
    checkForLab: async (tenantId, spec) => checkSpec({ ...spec, fuse: false }, await surroundings(tenantId)),
  };
}
