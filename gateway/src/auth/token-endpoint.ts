/**
 * `POST /oauth2/token`, client_credentials, for installations without Kong. Statuses, bodies and headers are those of Kong's oauth2 plugin
 * (kong/plugins/oauth2/access.lua, mandatory_scope, clients without redirect URIs), so a client moves to Kong unchanged.
 * Kong refuses plain HTTP here; this endpoint leaves transport security to whoever binds the port.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { textProblem } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import { verifySecret } from "@onedata/store/control";
import { readBodyAsync } from "../http/body.ts";
import { REALM } from "../http/problem.ts";
import type { Directory } from "./directory.ts";
import { signToken } from "./token.ts";

export const TOKEN_LIFE_SECONDS = 7200;
const MAX_BODY_BYTES = 64 * 1024;
/** Deriving a key takes ~50 ms of a thread: more at once would starve file and DNS work of the process. */
const MAX_DERIVING = 2;
const MAX_WAITING = 100;

export type TokenEndpoint = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

type Answer = { readonly status: number; readonly body: Record<string, unknown>; readonly headers?: Record<string, string> };

export function createTokenEndpoint(key: Buffer, directory: Directory): TokenEndpoint {
  const verify = bounded(verifySecret);
  return async (request, response) => {
    if (request.method !== "POST") {
      request.resume();
      const description = `The HTTP method ${request.method} is invalid for the token endpoint`;
      send(response, {
        status: 405,
        body: { error: "invalid_method", error_description: description },
        headers: { "www-authenticate": `Bearer realm="${REALM}", error="invalid_method", error_description="${description}"` },
      });
      return;
    }
    const parameters = await readParameters(request);
    const answer = await issue(request, parameters);
    const state = parameters.get("state");
    send(response, {
      ...answer,
      body: typeof state === "string" ? { ...answer.body, state } : answer.body,
      headers: { ...answer.headers, "cache-control": "no-store", pragma: "no-cache" },
    });
  };

  async function issue(request: IncomingMessage, parameters: ReadonlyMap<string, unknown>): Promise<Answer> {
    const basic = readBasic(request.headers.authorization);
    const clientId = basic?.id ?? parameters.get("client_id");
    const secret = basic?.secret ?? parameters.get("client_secret");
    const known = typeof clientId === "string" && mayBeKnown(clientId) ? await directory.bySubject(clientId) : undefined;
    const row = known?.row;
    if (row?.secretHash === undefined) return refuse("invalid_client", "Invalid client authentication");
    const right = typeof secret === "string" && secret.length <= 1024 && (await verify(secret, row.secretHash));
    if (!right) {
      const refusal = refuse("invalid_client", "Invalid client authentication");
      return basic === undefined ? refusal : { ...refusal, status: 401, headers: { "www-authenticate": 'Basic realm="OAuth2.0"' } };
    }
    if (parameters.get("grant_type") !== "client_credentials") {
      return refuse("invalid_request", "Invalid redirect_uri that does not match with any redirect_uri created with the application");
    }
    if (parameters.get("authenticated_userid") !== undefined) return refuse("invalid_provision_key", "Invalid provision_key");
    const scope = parameters.get("scope");
    if (scope === undefined || scope === "") return refuse("invalid_scope", "You must specify a scope");
    if (typeof scope !== "string") return refuse("invalid_scope", "scope must be a string");
    const scopes = [...new Set(scope.split(/\s+/).filter((word) => word !== ""))];
    const unknown = scopes.find((word) => !row.scopes.includes(word));
    if (unknown !== undefined) return refuse("invalid_scope", `"${unknown.slice(0, 100)}" is an invalid scope`);
    const expiresAtSeconds = Math.floor(Date.now() / 1000) + TOKEN_LIFE_SECONDS;
    const token = signToken(key, { principalId: row.principalId, scopes, expiresAtSeconds });
    return { status: 200, body: { access_token: token, token_type: "bearer", expires_in: TOKEN_LIFE_SECONDS } };
  }
}

/** Text that cannot be stored names no client, and the database would refuse to look for it. */
const mayBeKnown = (clientId: string): boolean => clientId !== "" && clientId.length <= 255 && textProblem(clientId) === undefined;

const refuse = (error: string, description: string): Answer => ({ status: 400, body: { error, error_description: description } });

function send(response: ServerResponse, { status, body, headers }: Answer): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json; charset=utf-8", "content-length": Buffer.byteLength(text), ...headers });
  response.end(text);
}

/** From the query, then the body: form or JSON. What cannot be read counts as absent, as in Kong. */
async function readParameters(request: IncomingMessage): Promise<ReadonlyMap<string, unknown>> {
  const parameters = new Map<string, unknown>();
  const query = request.url?.split("?")[1];
  if (query !== undefined) for (const [name, value] of new URLSearchParams(query)) parameters.set(name, value);
  const body = (await readBodyAsync(request, MAX_BODY_BYTES)).toString("utf8");
  if (/json/i.test(request.headers["content-type"] ?? "")) {
    for (const [name, value] of Object.entries(readObject(body))) parameters.set(name, value);
  } else {
    for (const [name, value] of new URLSearchParams(body)) parameters.set(name, value);
  }
  return parameters;
}

function readObject(text: string): object {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}

function readBasic(header: string | undefined): { id: string; secret: string } | undefined {
  const encoded = /^basic +([A-Za-z0-9+/=_-]+) *$/i.exec(header ?? "")?.[1];
  if (encoded === undefined) return undefined;
  const pair = Buffer.from(encoded, "base64").toString("utf8");
  const colon = pair.indexOf(":");
  return colon < 0 ? undefined : { id: decode(pair.slice(0, colon)), secret: decode(pair.slice(colon + 1)) };
}

/** RFC 6749, 2.3.1: both parts are form-encoded first; many clients do not, and then a stray % is meant as such. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return text;
  }
}

function bounded<A extends unknown[], R>(work: (...args: A) => Promise<R>): (...args: A) => Promise<R> {
  let running = 0;
  const waiting: (() => void)[] = [];
  return async (...args) => {
    if (running >= MAX_DERIVING) {
      if (waiting.length >= MAX_WAITING)
        throw new OneDataError("capture.overloaded", "too many sign-ins at once: try again", { retryAfterSeconds: 1 });
      await new Promise<void>((go) => waiting.push(go));
    } else running += 1;
    try {
      return await work(...args);
    } finally {
      const next = waiting.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  };
}
