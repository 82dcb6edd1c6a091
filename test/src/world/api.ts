/** The REST API as an integrator calls it: a token, then fetch. */

/** `client.json` of a home. */
export type ClientFile = { readonly url: string; readonly clientId: string; readonly clientSecret: string };

export type Answer = { readonly status: number; readonly headers: Headers; readonly text: string; readonly json: Json };
/** Loosely typed on purpose: tests look at what came over the wire. */
// biome-ignore lint/suspicious/noExplicitAny: see above
export type Json = any; // oxlint-disable-line typescript/no-explicit-any -- answers are compared, not computed with

export interface Api {
  readonly token: string;
  get(path: string): Promise<Answer>;
  send(method: string, path: string, body?: string | Uint8Array | object, headers?: Record<string, string>): Promise<Answer>;
  /** Another client of the same or another tenant. */
  as(client: { readonly clientId: string; readonly clientSecret: string }, scope: string): Promise<Api>;
}

export const ALL_SCOPES =
  "admin connections:read connections:write events:read events:write lookups:read lookups:write pipelines:read pipelines:write tenant:read tenant:write";

export async function openApi(client: ClientFile, scope = ALL_SCOPES): Promise<Api> {
  const token = await fetchToken(client, scope);
  const call = async (method: string, path: string, body?: string | Uint8Array | object, headers: Record<string, string> = {}): Promise<Answer> => {
    const isRaw = typeof body === "string" || body instanceof Uint8Array;
    const response = await fetch(client.url + path, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      ...(body === undefined ? {} : { body: isRaw ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, json: parse(text) };
  };
  return {
    token,
    get: (path) => call("GET", path),
    send: call,
    as: (other, otherScope) => openApi({ url: client.url, ...other }, otherScope),
  };
}

async function fetchToken({ url, clientId, clientSecret }: ClientFile, scope: string): Promise<string> {
  const body = new URLSearchParams({ grant_type: "client_credentials", client_id: clientId, client_secret: clientSecret, scope });
  const response = await fetch(`${url}/oauth2/token`, { method: "POST", body });
  const answer: unknown = await response.json();
  if (typeof answer === "object" && answer !== null && "access_token" in answer && typeof answer.access_token === "string")
    return answer.access_token;
  throw new Error(`no token: ${response.status} ${JSON.stringify(answer)}`);
}

function parse(text: string): Json {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
