/** tRPC on the same server, below `/trpc/`. Duty: context of a request, limits, logging of what the caller may not see. */
import { RemoteError } from "@onedata/mesh";
import { nodeHTTPRequestHandler } from "@trpc/server/adapters/node-http";
import type { Facade, Log } from "../http/seam.ts";
import { callOptionsOf, signalOf } from "../rest/call-options.ts";
import { MAX_BODY_BYTES } from "../rest/facade.ts";
import { toOneDataError } from "./problem.ts";
import { createAppRouter, type TrpcContext, type TrpcOptions } from "./router.ts";

export const TRPC_PREFIX = "/trpc/";
const MAX_BATCH = 50;

export function createTrpcFacade({ log, ...options }: TrpcOptions & { readonly log: Log }): Facade {
  const router = createAppRouter(options);
  return async (request, response, caller) => {
    const url = request.url ?? "/";
    if (!url.startsWith(TRPC_PREFIX)) return false;
    const gone = signalOf(response);
    const context: TrpcContext = {
      caller,
      callOptions: (principal, signal) => callOptionsOf(request, principal, signal === undefined ? gone : AbortSignal.any([gone, signal])),
    };
    await nodeHTTPRequestHandler({
      router,
      req: request,
      res: response,
      path: (url.split("?", 1)[0] ?? "").slice(TRPC_PREFIX.length),
      maxBodySize: MAX_BODY_BYTES,
      maxBatchSize: MAX_BATCH,
      createContext: async () => context,
      onError: ({ error, path }) => {
        const known = toOneDataError(error);
        if (known.code !== "internal") return;
        log.error("a procedure failed", { path, error: known.cause ?? known, ...(known instanceof RemoteError ? { instance: known.instance } : {}) });
      },
    });
    return true;
  };
}
