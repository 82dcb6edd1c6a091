/** Whoever acts for a tenant. No row in `principals`, no call. */
import type { TenantId } from "@onedata/core";

export type Principal = {
  readonly tenantId: TenantId;
  readonly principalId: bigint;
  readonly name: string;
  readonly scopes: ReadonlySet<string>;
};
