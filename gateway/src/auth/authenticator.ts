/**
 * Who calls: by our own bearer token, or by what Kong says of a request it let through.
 * Invariants: default deny; the answer for a caller seen before is synchronous (this runs once per captured event); scopes are always those of the token
 * AND of the principal's row, so taking a scope from a client takes it from its tokens.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { OneDataError, toTenantId } from "@onedata/core";
import { TOKEN_INVALID, TOKEN_MISSING } from "../http/problem.ts";
import type { Caller } from "../http/seam.ts";
import type { Directory, Known } from "./directory.ts";
import type { Principal } from "./principal.ts";
import { verifyToken } from "./token.ts";

export interface Authenticator {
  /** Throws or rejects with `auth.unauthenticated`. */
  authenticate(request: Pick<IncomingMessage, "headers">): Principal | Promise<Principal>;
}

type Entry = { readonly known: Known; readonly scopes: readonly string[]; readonly expiresAtMs: number; revision: number; principal: Principal };

const MAX_ENTRIES = 10_000;

/** A bounded map from what a caller sends to who it is. */
class Seen {
  readonly #entries = new Map<string, Entry>();

  get(key: string): Principal | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (Date.now() < entry.expiresAtMs) {
      if (entry.revision === entry.known.revision) return entry.principal;
      const principal = toPrincipal(entry.known, entry.scopes);
      if (principal !== undefined) {
        entry.principal = principal;
        entry.revision = entry.known.revision;
        return principal;
      }
    }
    this.#entries.delete(key);
    return undefined;
  }

  add(key: string, known: Known, scopes: readonly string[], expiresAtMs: number): Principal | undefined {
    const principal = toPrincipal(known, scopes);
    if (principal === undefined) return undefined;
    if (this.#entries.size >= MAX_ENTRIES) {
      const oldest = this.#entries.keys().next().value;
      if (oldest !== undefined) this.#entries.delete(oldest);
    }
    this.#entries.set(key, { known, scopes, expiresAtMs, revision: known.revision, principal });
    return principal;
  }
}

function toPrincipal(known: Known, scopes: readonly string[]): Principal | undefined {
  const row = known.row;
  if (row === undefined) return undefined;
  const allowed = new Set(row.scopes);
  return {
    tenantId: toTenantId(row.tenantId),
    principalId: row.principalId,
    name: row.name === "" ? row.subject : row.name,
    scopes: new Set(scopes.filter((scope) => allowed.has(scope))),
  };
}

/** `auth=own:` tokens of this installation's own `/oauth2/token`. */
export function createTokenAuthenticator(key: Buffer, directory: Directory): Authenticator {
  const seen = new Seen();
  const first = async (header: string): Promise<Principal> => {
    const token = /^(?:bearer|token) +([A-Za-z0-9_.-]+) *$/i.exec(header)?.[1];
    const claims = token === undefined ? undefined : verifyToken(key, token);
    if (claims === undefined || claims.expiresAtSeconds * 1000 <= Date.now()) throw invalidToken();
    const known = await directory.byId(claims.principalId);
    const principal = known === undefined ? undefined : seen.add(header, known, claims.scopes, claims.expiresAtSeconds * 1000);
    if (principal === undefined) throw invalidToken();
    return principal;
  };
  return {
    authenticate(request) {
      const header = request.headers.authorization;
      if (header === undefined || header === "") throw new OneDataError("auth.unauthenticated", TOKEN_MISSING);
      return seen.get(header) ?? first(header);
    },
  };
}

/** Header in which Kong (request-transformer) or the ingress sends the shared secret. */
export const KONG_SECRET_HEADER = "x-onedata-gateway-secret";

/** `auth=kong:` Kong's word is taken only with the shared secret; whoever reaches the gateway around Kong is nobody. */
export function createKongAuthenticator(sharedSecret: string, directory: Directory): Authenticator {
  const seen = new Seen();
  const expected = digest(sharedSecret);
  const first = async (client: string, scope: string, key: string): Promise<Principal> => {
    const known = await directory.bySubject(client);
    // Kong's tokens expire at Kong; the entry is only a shortcut.
    const principal = known === undefined ? undefined : seen.add(key, known, scope.split(/[ ,]+/), Date.now() + 60_000);
    if (principal === undefined) throw invalidToken();
    return principal;
  };
  return {
    authenticate(request) {
      const secret = request.headers[KONG_SECRET_HEADER];
      if (typeof secret !== "string" || !timingSafeEqual(digest(secret), expected)) throw new OneDataError("auth.unauthenticated", TOKEN_MISSING);
      const client = request.headers["x-credential-identifier"];
      const scope = request.headers["x-authenticated-scope"];
      if (
        typeof client !== "string" ||
        typeof request.headers["x-consumer-id"] !== "string" ||
        request.headers["x-anonymous-consumer"] !== undefined
      ) {
        throw new OneDataError("auth.unauthenticated", TOKEN_MISSING);
      }
      const scopes = typeof scope === "string" ? scope : "";
      const key = `${client}\n${scopes}`;
      return seen.get(key) ?? first(client, scopes, key);
    },
  };
}

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
const invalidToken = (): OneDataError => new OneDataError("auth.unauthenticated", TOKEN_INVALID);

/** Throws `auth.scope_missing` that names what is missing. */
export function demandScopes(principal: Principal, scopes: readonly string[]): Principal {
  for (const scope of scopes) {
    if (!principal.scopes.has(scope)) {
      throw new OneDataError("auth.scope_missing", `the access token lacks the scope ${scope}: request a token with scope="${scopes.join(" ")}"`);
    }
  }
  return principal;
}

/** Who calls, for routes of which some are anonymous: the refusal waits until somebody demands a principal. */
export async function toCaller(authenticator: Authenticator, request: IncomingMessage): Promise<Caller> {
  try {
    const principal = await authenticator.authenticate(request);
    return { principal, demand: (scopes) => demandScopes(principal, scopes) };
  } catch (error) {
    return {
      principal: undefined,
      demand() {
        throw error;
      },
    };
  }
}
