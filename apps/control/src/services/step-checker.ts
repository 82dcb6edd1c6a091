/** Asks transform services whether a step that names a connection can be used, with the connection's secrets. */
import type { TransformServiceDefinition } from "@onedata/contracts";
import { OneDataError, type PlanStep, type TenantId, type Violation } from "@onedata/core";
import { stringifyJson } from "@onedata/formats";
import type { Client } from "@onedata/mesh";
import type { SinkChecker } from "./sink-checker.ts";

export type StepProblem = Violation & { readonly warning: boolean };

export interface StepChecker {
  /** Pointers into the step's config. Throws `connection.not_found`, and what keeps the step from being checked now. */
  check(tenantId: TenantId, step: PlanStep, service: string, signal: AbortSignal): Promise<readonly StepProblem[]>;
}

export type StepCheckerPorts = {
  readonly sinks: Pick<SinkChecker, "readConnection">;
  /** Client of a transform service by the name it gives in Describe. */
  readonly transform: (service: string) => Pick<Client<typeof TransformServiceDefinition>, "checkStep"> | undefined;
};

export function createStepChecker({ sinks, transform }: StepCheckerPorts): StepChecker {
  return {
    async check(tenantId, step, service, signal) {
      if (step.connection === undefined) return [];
      const client = transform(service);
      if (client === undefined)
        throw new OneDataError("service.unavailable", `no address is known for the transform service ${JSON.stringify(service)}`);
      const connection = await sinks.readConnection(tenantId, step.connection);
      try {
        const { problems } = await client.checkStep(
          { operation: step.operation, configJson: Buffer.from(stringifyJson(step.config), "utf8"), connection, tenant: String(tenantId) },
          { signal, timeoutMs: 8_000 },
        );
        return problems.map(({ pointer, code, detail, warning }) => ({ pointer, code, detail, warning }));
      } catch (error) {
        // A service of a team that checks nothing.
        if (OneDataError.from(error).code === "route.not_found") return [];
        throw error;
      }
    },
  };
}
