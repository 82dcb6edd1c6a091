/** Every route but the hot ones, put together: the docs, tRPC, then REST from the contract. */
import { readContract } from "@onedata/contracts";
import type { ClientOptions, Transport } from "@onedata/mesh";
import { createDocsFacade } from "./docs/facade.ts";
import type { Facade, Log } from "./http/seam.ts";
import { createRestFacade } from "./rest/facade.ts";
import { createTrpcFacade } from "./trpc/facade.ts";

export type FacadeOptions = {
  /** By full service name; undefined where this installation does not run its workload. */
  readonly transportOf: (service: string) => Transport | undefined;
  /** Who we are to the mesh. */
  readonly client: ClientOptions;
  /** Gets the causes of unknown errors in tRPC, which answers its own errors. */
  readonly log?: Log;
};

const SILENT: Log = { info: () => undefined, warn: () => undefined, error: () => undefined };

export function createFacade({ transportOf, client, log = SILENT }: FacadeOptions): Facade {
  const contract = readContract();
  const faces = [createDocsFacade(contract), createTrpcFacade({ transportOf, client, log }), createRestFacade({ contract, transportOf, client })];
  return async (request, response, caller) => {
    for (const face of faces) if (await face(request, response, caller)) return true;
    return false;
  };
}
