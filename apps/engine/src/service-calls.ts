/**
 * The engine's calls to transform and load services: how many at once, which services worked lately, and what a broken connection is blamed on.
 * Non-duty: transports, deadlines, retries (the mesh's clients).
 *
 * Invariants: an external write is checked after its last wait and before it is sent; a call that is lost while a suspect is in flight at the same service is
 * the suspect's doing: the others give up without blame.
 */
import type { LoadServiceDefinition, TransformServiceDefinition } from "@onedata/contracts";
import { OneDataError, type RunServices } from "@onedata/core";
import type { Client } from "@onedata/mesh";
import type { ServiceLimit } from "./service-limit.ts";
import type { Probe } from "./service-probe.ts";

export type TransformClient = Client<typeof TransformServiceDefinition>;
export type LoadClient = Client<typeof LoadServiceDefinition>;

export interface ServiceClients {
  /** `undefined` for a service that nobody has registered. */
  transform(service: string): TransformClient | undefined;
  load(service: string): LoadClient | undefined;
}

export type CallsOfRun = {
  readonly signal: AbortSignal;
  /** The run is one suspect batch. */
  readonly suspect: boolean;
  /** Of the run's span, where it has one. */
  readonly traceparent?: string | undefined;
  beforeWrite(): void;
  afterCall(): void;
};

export interface ServiceCalls {
  /** Calls of one run. `beforeWrite` runs before every external write, `afterCall` after every finished call. */
  forRun(run: CallsOfRun): RunServices;
  /** False when the service does not do its own example just now; true when it does, or has none. */
  canWork(service: string, signal: AbortSignal): Promise<boolean>;
}

export type ServiceCallsPorts = {
  readonly clients: ServiceClients;
  readonly limit: ServiceLimit;
  readonly probe: Probe;
  readonly monotonicMs: () => number;
};

const WORKED_LATELY_MS = 30_000;
/** Connections that one death breaks are noticed one after another. */
const SAME_DEATH_MS = 1_000;

export function createServiceCalls({ clients, limit, probe, monotonicMs }: ServiceCallsPorts): ServiceCalls {
  const workedAtMs = new Map<string, number>();
  const suspects = new Suspects(monotonicMs);

  /** A transform service, since the call began: then something else is being answered while this is not. Else an example decides; a service without one is believed for a while. */
  const worksForOthers = async (service: string, sinceMs: number, signal: AbortSignal): Promise<boolean> => {
    const workedMs = workedAtMs.get(service) ?? Number.NEGATIVE_INFINITY;
    if (workedMs > sinceMs) return true;
    const client = clients.transform(service);
    const probed = client === undefined ? undefined : await probe(service, client, signal);
    return probed ?? monotonicMs() - workedMs < WORKED_LATELY_MS;
  };

  return {
    forRun({ signal, suspect, traceparent, ...run }) {
      const options = traceparent === undefined ? { signal } : { signal, traceparent };
      const startedMs = new Map<string, number>();
      const call = async <R>(service: string, send: () => Promise<R>): Promise<R> => {
        const leave = await limit.enter(service, signal);
        startedMs.set(service, monotonicMs());
        const settle = suspect ? suspects.enter(service) : undefined;
        try {
          const response = await send();
          workedAtMs.set(service, monotonicMs());
          settle?.(false);
          return response;
        } catch (error) {
          const isLost = OneDataError.from(error).code === "service.lost";
          settle?.(isLost);
          if (!suspect && isLost && suspects.areBehind(service))
            throw new OneDataError("aborted", `${service} died while it ran a batch that is suspected of that`, { cause: error });
          throw error;
        } finally {
          leave();
          run.afterCall();
        }
      };
      return {
        apply: (service, request) => call(service, () => (clients.transform(service) ?? unknownService(service)).apply(request, options)),
        write: (service, request) =>
          call(service, () => {
            const client = clients.load(service) ?? unknownService(service);
            run.beforeWrite();
            return client.write(request, options);
          }),
        worksForOthers: (service) => worksForOthers(service, startedMs.get(service) ?? monotonicMs(), signal),
      };
    },
    async canWork(service, signal) {
      const client = clients.transform(service);
      return client === undefined || (await probe(service, client, signal)) !== false;
    },
  };
}

/** Which services have a suspect's call in flight, or have just lost one. */
class Suspects {
  readonly #monotonicMs: () => number;
  readonly #inFlight = new Map<string, number>();
  readonly #lostAtMs = new Map<string, number>();

  constructor(monotonicMs: () => number) {
    this.#monotonicMs = monotonicMs;
  }

  enter(service: string): (isLost: boolean) => void {
    this.#inFlight.set(service, (this.#inFlight.get(service) ?? 0) + 1);
    return (isLost) => {
      this.#inFlight.set(service, (this.#inFlight.get(service) ?? 1) - 1);
      if (isLost) this.#lostAtMs.set(service, this.#monotonicMs());
    };
  }

  areBehind(service: string): boolean {
    const sinceLostMs = this.#monotonicMs() - (this.#lostAtMs.get(service) ?? Number.NEGATIVE_INFINITY);
    return (this.#inFlight.get(service) ?? 0) > 0 || sinceLostMs < SAME_DEATH_MS;
  }
}

function unknownService(service: string): never {
  throw new OneDataError(
    "service.unavailable",
    `no address is known for the service ${JSON.stringify(service)}; register it, or activate a version that does not use it`,
  );
}
