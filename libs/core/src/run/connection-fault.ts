/**
 * A connection that cannot be used holds back the events of its own group; the service behind the call is well, and so are the other groups in it.
 * Invariant: the fault names the connection and its pipeline, so that lanes are blocked by what really is down.
 */
import { OneDataError } from "../errors/onedata-error.ts";
import type { PlanStep, Stage } from "../plan/plan.ts";
import { ServiceFault } from "./call-fault.ts";
import type { RunDeps, RunGroup } from "./run.ts";

type GroupStage = { readonly group: RunGroup; readonly stage: Stage };

/** The reserved code of a record's verdict, with `retryable`: what the record is not to blame for costs it no try. */
export const isConnectionDown = (code: string): boolean => code === "connection.unavailable";

export function connectionFault({ group, stage }: GroupStage, step: Pick<PlanStep, "id" | "connection">, message: string): ServiceFault {
  const where = step.connection === undefined ? `step ${step.id}` : `connection ${step.connection}`;
  return new ServiceFault(`${stage.service} (${where} of ${group.pipeline})`, new OneDataError("connection.unavailable", message));
}

/** A connection of this group's steps that its tenant does not have (any more). That a connection cannot be read now is the whole call's fault. */
export async function findMissingConnection(work: GroupStage, deps: RunDeps): Promise<ServiceFault | undefined> {
  for (const step of work.stage.steps) {
    if (step.connection === undefined) continue;
    try {
      await deps.connection?.(work.group.tenant, step.connection);
    } catch (error) {
      const { code, message } = OneDataError.from(error);
      if (code === "connection.not_found") return connectionFault(work, step, message);
    }
  }
  return undefined;
}
