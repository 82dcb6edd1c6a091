/** What an implementation knows about the call besides its request. */
import { OneDataError, type TenantId } from "@onedata/core";
import type { Identity, Metadata } from "./metadata.ts";

export interface CallContext {
  /** Throws `auth.unauthenticated` for a call that is made for no tenant (only internal services get those). */
  readonly tenantId: TenantId;
  /** Who acts: an OAuth2 client, a user, a mesh identity; "" for nobody. */
  readonly principal: string;
  readonly scopes: ReadonlySet<string>;
  /** Workload that calls: gateway, control, engine, ... */
  readonly caller: string;
  /** W3C traceparent: of this call's span where there is one, else of the caller's. */
  readonly traceparent: string | undefined;
  readonly metadata: Metadata;
  /** Fires when the caller goes away or the deadline passes. */
  readonly signal: AbortSignal;
  /** On the clock of `performance.now()`. */
  readonly deadlineAtMs: number;
}

export function createCallContext(call: {
  readonly identity: Identity | undefined;
  readonly caller: string;
  readonly metadata: Metadata;
  readonly traceparent: string | undefined;
  readonly signal: AbortSignal;
  readonly deadlineAtMs: number;
}): CallContext {
  const { identity, caller, metadata, traceparent, signal, deadlineAtMs } = call;
  return {
    get tenantId(): TenantId {
      if (identity === undefined) throw new OneDataError("auth.unauthenticated", "the call names no tenant; pass `identity` in its options");
      return identity.tenantId;
    },
    principal: identity?.principal ?? "",
    scopes: new Set(identity?.scopes ?? []),
    caller,
    traceparent,
    metadata,
    signal,
    deadlineAtMs,
  };
}
