/**
 * Which class a failed call belongs to (the first column decides what follows):
 *   data       this request is at fault: the call is parted until the guilty record stands alone, and that one dies
 *   ambiguous  a deadline or an internal error: data if the service works for others, else service
 *   lost       the connection broke after the request was sent, perhaps because of what was in it: the batches count a crash
 *   released   this process gives up the call (it stops, or has lost its lease): nobody is at fault
 *   service    everything else: the lanes wait with backoff; nothing is parted, nothing dies
 */
import { catalogue, type ErrorCode } from "../errors/catalogue.ts";
import { OneDataError } from "../errors/onedata-error.ts";

export type CallFaultClass = "data" | "ambiguous" | "lost" | "released" | "service";

/** What an operator can mend is no fault of the records, whatever its status. */
const MENDABLE: ReadonlySet<ErrorCode> = new Set(["network.address_refused", "pipeline.invalid"]);

const SPECIAL: ReadonlyMap<ErrorCode, CallFaultClass> = new Map([
  ["internal", "ambiguous"],
  ["request.timeout", "ambiguous"],
  ["service.lost", "lost"],
  ["aborted", "released"],
]);

export function classifyCallError(error: unknown): CallFaultClass {
  const { code } = OneDataError.from(error);
  const special = SPECIAL.get(code);
  if (special !== undefined) return special;
  return [400, 413, 422].includes(catalogue[code].http) && !MENDABLE.has(code) ? "data" : "service";
}

/**
 * What follows for the events that a fault holds back:
 *   block    their lanes wait with backoff
 *   crash    their batches count a crash: parted, then suspects
 *   release  nothing: they were beside the fault, or behind an event of their key that waits
 */
export type FaultEffect = "block" | "crash" | "release";

/** A service that cannot do its work now. Ends the stage; whoever runs the route waits and tries again. */
export class ServiceFault extends Error {
  readonly service: string;
  readonly code: ErrorCode;
  readonly effect: FaultEffect;

  constructor(service: string, error: unknown, effect: FaultEffect = effectOf(error)) {
    const known = OneDataError.from(error);
    super(`service ${service}: ${known.message}`, { cause: error });
    this.name = "ServiceFault";
    this.service = service;
    this.code = known.code;
    this.effect = effect;
  }

  /** For events of the run that were not in the call. */
  beside(): ServiceFault {
    return this.effect === "block" ? this : new ServiceFault(this.service, this.cause, "release");
  }
}

function effectOf(error: unknown): FaultEffect {
  const faultClass = classifyCallError(error);
  return faultClass === "lost" ? "crash" : faultClass === "released" ? "release" : "block";
}
