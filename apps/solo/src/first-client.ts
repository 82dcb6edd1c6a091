/** Who may call from the first minute: one client of the tenant `default`, its credentials in client.json, and its connection to the example warehouse. */
import { readContract } from "@onedata/contracts";
import { type TenantId, toTenantId } from "@onedata/core";
import { createClient } from "@onedata/gateway";
import { findClientBySubject, type Store } from "@onedata/store";
import { putConnection, type SecretBox } from "@onedata/store/control";
import { openWarehouse } from "./databases.ts";
import type { ClientFile, Home } from "./home.ts";

const TENANT = "default";

export type FirstClient = { readonly client: ClientFile; readonly tenantId: TenantId; readonly isNew: boolean };

export const allScopes = (): string[] =>
  [...new Set(readContract().methods.flatMap((method) => method.policy.scopes))].filter((scope) => scope !== "mesh:call").sort();

/** The client of `client.json` while the database knows it; a new one otherwise (a fresh folder, or a database that was replaced). */
export async function openFirstClient(home: Home, store: Store, url: string): Promise<FirstClient> {
  const known = home.readClient();
  const principal = known === undefined ? undefined : await findClientBySubject(store.sql, known.clientId);
  if (known !== undefined && principal !== undefined) {
    const client = { ...known, url };
    home.writeClient(client);
    return { client, tenantId: toTenantId(principal.tenantId), isNew: false };
  }
  const made = await createClient(store, { tenant: TENANT, name: "first client", scopes: allScopes() });
  const client = { url, clientId: made.clientId, clientSecret: made.clientSecret };
  home.writeClient(client);
  return { client, tenantId: toTenantId(made.tenantId), isNew: true };
}

export async function connectWarehouse(serverUrl: string, sql: Store["sql"], tenantId: TenantId, box: SecretBox): Promise<void> {
  const { password, ...config } = await openWarehouse(serverUrl);
  await putConnection(
    sql,
    tenantId,
    { name: "solo" },
    // All its secrets are given: none is kept, for nobody.
    { name: "warehouse", kind: "postgres", config: JSON.stringify(config), secrets: { password }, box, audienceOf: () => undefined },
  );
}
