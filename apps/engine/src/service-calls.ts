/**
 * The engine's calls to transform and load services, and its memory of which of them worked lately.
 * Non-duty: transports, deadlines, retries (the mesh's clients).
 */
import type { LoadServiceDefinition, TransformServiceDefinition } from "@onedata/contracts";
import { OneDataError, type RunServices } from "@onedata/core";
import type { Client } from "@onedata/mesh";

export type TransformClient = Client<typeof TransformServiceDefinition>;
export type LoadClient = Client<typeof LoadServiceDefinition>;

export interface ServiceClients {
  /** `undefined` for a service that nobody has registered. */
  transform(service: string): TransformClient | undefined;
  load(service: string): LoadClient | undefined;
}

const WORKED_LATELY_MS = 30_000;

export interface ServiceCalls {
  /** Calls of one run. `beforeWrite` runs before every external write, `afterCall` after every finished call. */
  forRun(run: { readonly signal: AbortSignal; beforeWrite(): void; afterCall(): void }): RunServices;
}

export function createServiceCalls(clients: ServiceClients, monotonicMs: () => number): ServiceCalls {
  const workedAtMs = new Map<string, number>();
  const remember = (service: string): void => {
    workedAtMs.set(service, monotonicMs());
  };
  return {
    forRun: ({ signal, ...run }) => ({
      async apply(service, request) {
        const client = clients.transform(service) ?? unknownService(service);
        try {
          const response = await client.apply(request, { signal });
          remember(service);
          return response;
        } finally {
          run.afterCall();
        }
      },
      async write(service, request) {
        const client = clients.load(service) ?? unknownService(service);
        run.beforeWrite();
        try {
          const response = await client.write(request, { signal });
          remember(service);
          return response;
        } finally {
          run.afterCall();
        }
      },
      worksForOthers: (service) => monotonicMs() - (workedAtMs.get(service) ?? Number.NEGATIVE_INFINITY) < WORKED_LATELY_MS,
    }),
  };
}

function unknownService(service: string): never {
  throw new OneDataError(
    "service.unavailable",
    `no address is known for the service ${JSON.stringify(service)}; register it, or activate a version that does not use it`,
  );
}
