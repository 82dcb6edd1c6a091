/** Clients, as solo and operators make them. The secret is returned once and kept as a hash only. */
import { toTenantId } from "@onedata/core";
import { ensureTenant, insertClient, type Store } from "@onedata/store";
import { hashSecret, makeClientId, makeClientSecret } from "@onedata/store/control";

export type ClientCredentials = {
  readonly clientId: string;
  readonly clientSecret: string;
  readonly tenantId: bigint;
  readonly scopes: readonly string[];
};

/** Makes the tenant when it is missing, and a client of it. Calling it twice makes two clients. */
export async function createClient(
  store: Store,
  { tenant, name, scopes }: { tenant: string; name: string; scopes: readonly string[] },
): Promise<ClientCredentials> {
  const clientId = makeClientId();
  const clientSecret = makeClientSecret();
  const secretHash = await hashSecret(clientSecret);
  const tenantId = await store.sql.begin(async (transaction) => {
    const id = toTenantId(await ensureTenant(transaction, tenant));
    await insertClient(transaction, id, { clientId, name, scopes, secretHash });
    return id;
  });
  return { clientId, clientSecret, tenantId, scopes };
}
