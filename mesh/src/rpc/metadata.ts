/**
 * What travels beside a message: lower-case names, ASCII values. Who calls, for whom, with which scopes, and in which trace.
 * Invariant: a service believes these names only after the mesh secret or the mesh's own identity header was checked (`authenticate.ts`).
 */
import { OneDataError, type TenantId, toTenantId } from "@onedata/core";

export type Metadata = Readonly<Record<string, string>>;

export const HEADER = {
  tenant: "x-onedata-tenant",
  principal: "x-onedata-principal",
  scopes: "x-onedata-scopes",
  caller: "x-onedata-caller",
  meshSecret: "x-onedata-mesh-secret",
  traceparent: "traceparent",
  tracestate: "tracestate",
  /** Set by Linkerd's proxy: `<serviceaccount>.<namespace>.serviceaccount.identity.linkerd.cluster.local`. */
  meshIdentity: "l5d-client-id",
} as const;

/** For whom a call is made: the tenant, who acts, and what they may do. */
export type Identity = { readonly tenantId: TenantId; readonly principal: string; readonly scopes: readonly string[] };

/** Principals may hold any text: percent-encoded, since metadata is ASCII. */
export const identityMetadata = ({ tenantId, principal, scopes }: Identity): Metadata => ({
  [HEADER.tenant]: String(tenantId),
  [HEADER.principal]: encodeURIComponent(principal),
  [HEADER.scopes]: scopes.join(" "),
});

/** Undefined where the call is made for nobody. */
export function readIdentity(metadata: Metadata): Identity | undefined {
  const tenant = metadata[HEADER.tenant];
  if (tenant === undefined) return undefined;
  if (!/^\d{1,19}$/.test(tenant)) throw new OneDataError("auth.unauthenticated", `the tenant ${JSON.stringify(tenant.slice(0, 40))} is not an id`);
  return { tenantId: toTenantId(BigInt(tenant)), principal: decodePrincipal(metadata[HEADER.principal] ?? ""), scopes: readScopes(metadata) };
}

export const readScopes = (metadata: Metadata): readonly string[] => (metadata[HEADER.scopes] ?? "").split(" ").filter((scope) => scope !== "");

function decodePrincipal(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
