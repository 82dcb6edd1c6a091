/** Principals as the gateway sees them: whoever is revoked is not there. Subjects are unique over tenants, so the row itself says which tenant it is of. */
import type { TenantId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";

export type PrincipalRecord = {
  readonly principalId: bigint;
  readonly tenantId: bigint;
  readonly subject: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly secretHash: string | undefined;
};

type Row = { id: bigint; tenant_id: bigint; subject: string; name: string; scopes: string[]; secret_hash: string | null };

const toRecord = (row: Row): PrincipalRecord => ({
  principalId: row.id,
  tenantId: row.tenant_id,
  subject: row.subject,
  name: row.name,
  scopes: row.scopes,
  secretHash: row.secret_hash ?? undefined,
});

/** OAuth2 clients only: a database role or a mesh identity cannot sign in. */
export async function findClientBySubject(sql: Sql, subject: string): Promise<PrincipalRecord | undefined> {
  const [row] = await sql<Row[]>`
    select id, tenant_id, subject, name, scopes, secret_hash from onedata.principals where subject = ${subject} and kind = 'client' and revoked_at is null`;
  return row === undefined ? undefined : toRecord(row);
}

export async function readClients(sql: Sql, ids: readonly bigint[]): Promise<readonly PrincipalRecord[]> {
  const rows = await sql<Row[]>`
    select id, tenant_id, subject, name, scopes, secret_hash from onedata.principals
     where id = any(${`{${ids.join(",")}}`}::bigint[]) and kind = 'client' and revoked_at is null`;
  return rows.map(toRecord);
}

export type NewClient = { readonly clientId: string; readonly name: string; readonly scopes: readonly string[]; readonly secretHash: string };

/** Takes a hash, never a secret. */
export async function insertClient(sql: Sql | Transaction, tenantId: TenantId, client: NewClient): Promise<bigint> {
  const [row] = await sql<{ id: bigint }[]>`
    insert into onedata.principals (tenant_id, kind, subject, name, scopes, secret_hash)
    values (${tenantId}, 'client', ${client.clientId}, ${client.name}, ${[...client.scopes]}, ${client.secretHash}) returning id`;
  if (row === undefined) throw new Error("insert returned no row");
  return row.id;
}

/** The tenant of this name, made when it is missing. */
export async function ensureTenant(sql: Sql | Transaction, name: string): Promise<bigint> {
  await sql`insert into onedata.tenants (name) values (${name}) on conflict (name) do nothing`;
  const [row] = await sql<{ id: bigint }[]>`select id from onedata.tenants where name = ${name}`;
  if (row === undefined) throw new Error(`tenant ${name} is gone`);
  return row.id;
}

/** A fact of the installation, made by whoever comes first; everybody reads the same. */
export async function ensureInstallationValue(sql: Sql, name: string, make: () => string): Promise<string> {
  await sql`insert into onedata.installation (name, value) values (${name}, ${make()}) on conflict (name) do nothing`;
  const [row] = await sql<{ value: string }[]>`select value from onedata.installation where name = ${name}`;
  if (row === undefined) throw new Error(`installation value ${name} is gone`);
  return row.value;
}
