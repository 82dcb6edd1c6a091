/**
 * Batches that services or engines died with: what is asked before their last pieces run, and when an event is found guilty.
 * Invariant: no event dies for a service that dies with everybody: before an event runs alone, its services have to do an example of their own.
 */
import {
  type EventResult,
  type GroupResult,
  GUILTY_AFTER,
  OneDataError,
  pieceSize,
  type RunGroup,
  type RunResult,
  ServiceFault,
} from "@onedata/core";
import type { PlacedGroup } from "./run-groups.ts";
import type { ServiceCalls } from "./service-calls.ts";

/** The fault of a service that does not even do its own example; asked only where a crash could cost an event its life. */
export async function assertServicesWork(
  groups: readonly RunGroup[],
  crashes: number,
  calls: Pick<ServiceCalls, "canWork">,
  signal: AbortSignal,
): Promise<ServiceFault | undefined> {
  if (pieceSize(crashes) > 1) return undefined;
  const services = new Set(groups.flatMap(({ plan }) => plan.stages.map((stage) => stage.service)));
  for (const service of services) {
    if (!(await calls.canWork(service, signal)))
      return new ServiceFault(service, new OneDataError("service.unavailable", "it does not do an example of its own catalogue"));
  }
  return undefined;
}

/**
 * The results with the only event of a last piece dead, if it has crashed often enough; else undefined. Without `result` nothing has run: engines died with it.
 */
export function buryGuilty(placed: readonly PlacedGroup[], crashes: number, result: RunResult | undefined): GroupResult[] | undefined {
  const [only] = placed;
  const [event] = only?.group.events ?? [];
  if (crashes < GUILTY_AFTER || only === undefined || event === undefined) return undefined;
  const found = result?.groups[0]?.events[0];
  if (result !== undefined && (found?.kind !== "pending" || found.fault?.effect !== "crash")) return undefined;
  const fault = found?.kind === "pending" ? found.fault : undefined;
  const { stages, sinks } = only.group.plan;
  const dead: EventResult = {
    kind: "dead",
    causes: [
      {
        step: stages.find(({ service }) => service === fault?.service)?.steps[0]?.id ?? "",
        sink: sinks.find(({ service }) => service === fault?.service)?.id ?? "",
        code: "record.crashes",
        message:
          fault === undefined
            ? `engines died ${crashes} times with this record in flight, the last times with it alone`
            : `${fault.message} (died ${crashes} times with this record in flight, the last times with it alone)`,
        json: event.json,
      },
    ],
  };
  return [{ events: [dead], outputs: [] }];
}
