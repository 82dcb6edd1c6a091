/**
 * grpc.health.v1.Health, for Kubernetes' probes and `onedata conformance`. Its two messages are one field each, so they are written here by hand.
 * No secret is asked: probes have none, and the answer tells nothing.
 */
import { type CallContext, type Server, ServerError, Status } from "nice-grpc";
import { rawMethod } from "./methods.ts";

export type HealthStatus = "serving" | "not_serving";

export type HealthSource = {
  readonly status: () => HealthStatus;
  /** Full names of the services that are served. */
  readonly services: ReadonlySet<string>;
  /** Resolves at the next change, rejects when `signal` fires. */
  readonly changed: (signal: AbortSignal) => Promise<void>;
};

export function addHealth(server: Server, source: HealthSource): void {
  server.add(rawMethod("/grpc.health.v1.Health/Check", false, false), {
    call: async (request: Uint8Array) => {
      const service = readService(request);
      if (service !== "" && !source.services.has(service)) throw new ServerError(Status.NOT_FOUND, `${JSON.stringify(service)} is not served here`);
      return answer(source.status());
    },
  });
  server.add(rawMethod("/grpc.health.v1.Health/Watch", false, true), {
    call: async function* (_request: Uint8Array, context: CallContext) {
      for (;;) {
        yield answer(source.status());
        await source.changed(context.signal);
      }
    },
  });
}

/** HealthCheckRequest { string service = 1 } */
function readService(request: Uint8Array): string {
  return request[0] === 0x0a ? new TextDecoder().decode(request.subarray(2, 2 + (request[1] ?? 0))) : "";
}

/** HealthCheckResponse { ServingStatus status = 1 }: SERVING = 1, NOT_SERVING = 2. */
const answer = (status: HealthStatus): Uint8Array => Uint8Array.of(0x08, status === "serving" ? 1 : 2);
