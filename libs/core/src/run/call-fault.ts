/**
 * Which class a failed call belongs to (the first column decides what follows):
 *   data       this request is at fault: the run is parted until the guilty record stands alone, and that one dies
 *   ambiguous  a deadline or an internal error: data if the service has just worked for others, else service
 *   service    everything else: the route waits with backoff; nothing is parted, nothing dies
 */
import type { ErrorCode } from "../errors/catalogue.ts";
import { OneDataError } from "../errors/onedata-error.ts";

export type CallFaultClass = "data" | "ambiguous" | "service";

const DATA: ReadonlySet<ErrorCode> = new Set([
  "request.malformed",
  "request.invalid",
  "request.too_large",
  "config.invalid",
  "expression.invalid",
  "record.too_large",
]);
const AMBIGUOUS: ReadonlySet<ErrorCode> = new Set(["internal", "request.timeout"]);

export function classifyCallError(error: unknown): CallFaultClass {
  const { code } = OneDataError.from(error);
  if (DATA.has(code)) return "data";
  return AMBIGUOUS.has(code) ? "ambiguous" : "service";
}

/** A service that cannot do its work now. Ends the stage; whoever runs the route waits and tries again. */
export class ServiceFault extends Error {
  readonly service: string;
  readonly code: ErrorCode;

  constructor(service: string, error: unknown) {
    const known = OneDataError.from(error);
    super(`service ${service}: ${known.message}`, { cause: error });
    this.name = "ServiceFault";
    this.service = service;
    this.code = known.code;
  }
}
