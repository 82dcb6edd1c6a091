/**
 * REST from the contract: every http rule that is not written by hand.
 * Duty: route, scopes, request message, call by bytes over the workload's transport, answer. Non-duty: authentication, the shape of problems, anything that
 * knows a single method.
 * Invariants:
 *  1. Default deny: a method without scopes that is not declared anonymous fails at start, and the scopes are checked before the body is read.
 *  2. A caller that goes away aborts its call; no call outlives the deadline of its policy.
 *  3. Errors are thrown, never written; the server turns them into problem+json.
 */
import { fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { type Contract, type MethodContract, warmUpValidators } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import type { ClientOptions, Transport } from "@onedata/mesh";
import { readBodyAsync } from "../http/body.ts";
import { parseQuery } from "../http/query.ts";
import { nameRoute } from "../http/request-span.ts";
import type { Facade } from "../http/seam.ts";
import { callOptionsOf, signalOf } from "./call-options.ts";
import { refuseEncodedBody } from "./media-type.ts";
import { callStream, callUnary } from "./raw-client.ts";
import { readRequest } from "./read-request.ts";
import { createRouter, namedValues } from "./router.ts";
import { type Route, routesOf } from "./routes.ts";
import { sendMessage } from "./send-message.ts";
import { STREAM_HEADERS, sendStream } from "./send-stream.ts";

export type RestOptions = {
  readonly contract: Contract;
  /** By full service name; undefined where this installation does not run its workload. */
  readonly transportOf: (service: string) => Transport | undefined;
  /** Who we are to the mesh. */
  readonly client: ClientOptions;
};

/** What a call may carry, headers of the transport included, must stay below the mesh's limit of 4 MiB. */
export const MAX_BODY_BYTES = 3_670_016;

export function createRestFacade({ contract, transportOf, client }: RestOptions): Facade {
  const routes = routesOf(contract);
  for (const { rpc } of routes) requireScopes(rpc);
  const router = createRouter(routes);
  warmUpValidators(routes.map(({ rpc }) => rpc.input.typeName));

  return async (request, response, caller) => {
    const url = request.url ?? "/";
    const path = url.split("?", 1)[0] ?? "/";
    const match = findRoute(router, path);
    if (match === undefined) {
      if (!path.startsWith("/v1/")) return false;
      throw new OneDataError("route.not_found", `no route ${JSON.stringify(path.slice(0, 200))}${router.hint(path) || "; /docs lists them all"}`);
    }
    const allow = allowed(match.routes.keys());
    if (request.method === "OPTIONS") {
      response.writeHead(204, { allow, "content-length": 0 }).end();
      return true;
    }
    const route = match.routes.get(request.method === "HEAD" ? "GET" : (request.method ?? ""));
    if (route === undefined) {
      response.setHeader("allow", allow);
      throw new OneDataError("route.method_not_allowed", `${path.slice(0, 200)} does not take ${request.method}: it takes ${allow}`);
    }
    const { rpc } = route;
    nameRoute(request, route.path);
    if (rpc.policy.handwritten) return false;
    const principal = rpc.policy.anonymous ? caller.principal : caller.demand(rpc.policy.scopes);

    const query = parseQuery(url);
    refuseEncodedBody(request.headers);
    const body = await readBodyAsync(request, MAX_BODY_BYTES);
    const variables = namedValues(route, match.values);
    const message = readRequest(route, { variables, query, headers: request.headers, body });
    const transport = transportOf(rpc.service);
    if (transport === undefined) throw new OneDataError("service.unavailable", `${rpc.service} is not part of this installation`);

    if (request.method === "HEAD" && rpc.kind === "server_streaming") {
      response.writeHead(200, STREAM_HEADERS).end();
      return true;
    }
    const call = callOptionsOf(request, principal, signalOf(response));
    const bytes = toBinary(rpc.input, message);
    if (rpc.kind === "server_streaming") await sendStream(response, rpc.output, callStream(rpc, transport, client, bytes, call));
    else sendMessage({ request, response, route, query, path }, readAnswer(rpc, transport, await callUnary(rpc, transport, client, bytes, call)));
    return true;
  };
}

function requireScopes({ fullName, policy, kind }: MethodContract): void {
  if (policy.scopes.length === 0 && !policy.anonymous) throw new Error(`${fullName} has no scopes and is not anonymous: nobody may call it`);
  if ((kind === "client_streaming" || kind === "bidi_streaming") && !policy.handwritten)
    throw new Error(`${fullName} streams its request: REST needs a hand-written route`);
}

function findRoute(router: ReturnType<typeof createRouter<Route>>, path: string): ReturnType<typeof router.find> {
  try {
    return router.find(path);
  } catch (cause) {
    if (cause instanceof URIError)
      throw new OneDataError("request.malformed", `the path ${JSON.stringify(path.slice(0, 200))} has a broken percent escape`, { cause });
    throw cause;
  }
}

const allowed = (methods: Iterable<string>): string =>
  [...methods]
    .flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method]))
    .concat("OPTIONS")
    .join(", ");

function readAnswer(rpc: MethodContract, transport: Transport, bytes: Uint8Array): Message {
  try {
    return fromBinary(rpc.output, bytes);
  } catch (cause) {
    throw new OneDataError("contract.breach", `${transport.address} answered ${rpc.fullName} with something that is no ${rpc.output.typeName}`, {
      cause,
    });
  }
}
