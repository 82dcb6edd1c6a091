/** Who may call from the first minute: one client of the tenant `default`, its credentials in client.json, and its connection to the example warehouse. */
import { readContract } from "@onedata/contracts";
import { type TenantId, toTenantId } from "@onedata/core";
import { createClient } from "@onedata/gateway";
import { findClientBySubject, type Store } from "@onedata/store";
import { listConnections, putConnection, type SecretBox } from "@onedata/store/control";
import { openWarehouse, type WarehouseAccess } from "./databases.ts";
import type { ClientFile, Home } from "./home.ts";

const TENANT = "default";
/** Of the connection; `databases.ts` names database and role so too. */
const WAREHOUSE = "warehouse";

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

/**
 * The connection `warehouse` to the example database on the embedded server: made with a new tenant, and led to the server again when its port has changed since
 * (the one of last time may be taken). Left alone when it was removed or leads elsewhere: then it is its owner's.
 */
export async function connectWarehouse(
  serverUrl: string,
  sql: Store["sql"],
  { tenantId, isNew }: Pick<FirstClient, "tenantId" | "isNew">,
  box: SecretBox,
): Promise<void> {
  if (!isNew && !(await hasMoved(serverUrl, sql, tenantId))) return;
  const { password, ...config } = await openWarehouse(serverUrl);
  await putConnection(
    sql,
    tenantId,
    { name: "solo" },
    // All its secrets are given: none is kept, for nobody.
    { name: WAREHOUSE, kind: "postgres", config: JSON.stringify(config), secrets: { password }, box, audienceOf: () => undefined },
  );
}

async function hasMoved(serverUrl: string, sql: Store["sql"], tenantId: TenantId): Promise<boolean> {
  const known = (await listConnections(sql, tenantId)).find(({ name }) => name === WAREHOUSE);
  if (known === undefined) return false;
  const { host, port, database, user }: Partial<WarehouseAccess> = JSON.parse(known.config);
  const server = new URL(serverUrl);
  return host === server.hostname && database === WAREHOUSE && user === WAREHOUSE && port !== Number(server.port);
}
