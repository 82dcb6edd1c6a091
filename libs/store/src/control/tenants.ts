/** Tenants, their limits and variables, and the principals that act for them. */
import { OneDataError, type TenantId, toTenantId } from "@onedata/core";
import { type Sql, sqlStateOf, type Transaction } from "../connection.ts";
import { insertClient } from "../gateway/principals.ts";
import { type RetentionDays, readRetention } from "../retention/policy.ts";
import { type Actor, recordChange } from "./audit.ts";
import { hashSecret, makeClientId, makeClientSecret } from "./client-secret.ts";

/** 0 is no limit. */
export type TenantLimits = { readonly eventsPerSecond: number; readonly backlogBytes: number; readonly pipelines: number };
export type TenantRow = {
  readonly id: TenantId;
  readonly name: string;
  readonly limits: TenantLimits;
  readonly variables: Readonly<Record<string, string>>;
  readonly createdAt: Date;
  /** What the tenant chose; 0 = the operator's maximum. */
  readonly retention: RetentionDays;
};
export type ClientRow = { readonly clientId: string; readonly name: string; readonly scopes: readonly string[]; readonly createdAt: Date };
export type NewClient = { readonly clientId: string; readonly clientSecret: string; readonly scopes: readonly string[] };

export async function createTenant(
  sql: Sql,
  actorTenantId: TenantId,
  actor: Actor,
  { name, limits }: { name: string; limits: TenantLimits },
): Promise<TenantRow> {
  try {
    return await sql.begin(async (tx) => {
      const [row] = await tx<
        { id: bigint }[]
      >`insert into onedata.tenants (name, limits) values (${name}, ${JSON.stringify(limits)}::text::jsonb) returning id`;
      if (row === undefined) throw new OneDataError("internal", "insert of a tenant returned no row");
      await recordChange(tx, actorTenantId, actor, { action: "CreateTenant", subject: `tenants/${name}` });
      return getTenant(tx, toTenantId(row.id));
    });
  } catch (error) {
    if (sqlStateOf(error) === "23505") throw new OneDataError("tenant.exists", `there is a tenant ${JSON.stringify(name)} already`, { cause: error });
    throw error;
  }
}

export async function getTenant(sql: Sql | Transaction, tenantId: TenantId): Promise<TenantRow> {
  const [row] = await sql<
    { id: bigint; name: string; limits: Record<string, unknown>; created_at: Date }[]
  >`select id, name, limits, created_at from onedata.tenants where id = ${tenantId}`;
  if (row === undefined) throw new OneDataError("tenant.not_found", "no such tenant");
  return {
    id: tenantId,
    name: row.name,
    limits: toLimits(row.limits),
    variables: await readVariables(sql, tenantId),
    createdAt: row.created_at,
    retention: await readRetention(sql, tenantId),
  };
}

/** For operators, who name other tenants. Throws `tenant.not_found`. */
export async function findTenant(sql: Sql, name: string): Promise<TenantId> {
  const [row] = await sql<{ id: bigint }[]>`select id from onedata.tenants where name = ${name}`;
  if (row === undefined) throw new OneDataError("tenant.not_found", `no tenant ${JSON.stringify(name)}`);
  return toTenantId(row.id);
}

export async function setLimits(sql: Sql, tenantId: TenantId, actor: Actor, limits: TenantLimits): Promise<TenantRow> {
  return sql.begin(async (tx) => {
    await tx`update onedata.tenants set limits = ${JSON.stringify(limits)}::text::jsonb where id = ${tenantId}`;
    await recordChange(tx, tenantId, actor, { action: "SetLimits", subject: "tenant/limits", detail: { ...limits } });
    return getTenant(tx, tenantId);
  });
}

/** Less than before takes effect with the next round of retention, and cannot be undone then. */
export async function setRetention(sql: Sql, tenantId: TenantId, actor: Actor, retention: RetentionDays): Promise<TenantRow> {
  return sql.begin(async (tx) => {
    const { eventsDays, deadLettersDays } = retention;
    await tx`update onedata.tenants set retention = ${JSON.stringify({ eventsDays, deadLettersDays })}::text::jsonb where id = ${tenantId}`;
    await recordChange(tx, tenantId, actor, { action: "SetRetention", subject: "tenant/retention", detail: { eventsDays, deadLettersDays } });
    return getTenant(tx, tenantId);
  });
}

export async function readVariables(sql: Sql | Transaction, tenantId: TenantId): Promise<Record<string, string>> {
  const rows = await sql<
    { name: string; value: string }[]
  >`select name, value from onedata.settings where tenant_id = ${tenantId} and kind = 'var' order by name`;
  return Object.fromEntries(rows.map((row) => [row.name, row.value]));
}

/** Replaces all of them. Pipelines take a new value with their next apply. */
export async function setVariables(sql: Sql, tenantId: TenantId, actor: Actor, variables: Readonly<Record<string, string>>): Promise<TenantRow> {
  return sql.begin(async (tx) => {
    await tx`select 1 from onedata.tenants where id = ${tenantId} for no key update`;
    await tx`delete from onedata.settings where tenant_id = ${tenantId} and kind = 'var'`;
    for (const [name, value] of Object.entries(variables)) {
      await tx`insert into onedata.settings (tenant_id, kind, name, value, updated_by) values (${tenantId}, 'var', ${name}, ${value}, ${actor.name})`;
    }
    await recordChange(tx, tenantId, actor, {
      action: "SetVariables",
      subject: "tenant/variables",
      detail: { names: Object.keys(variables).sort().join(" ") },
    });
    return getTenant(tx, tenantId);
  });
}

/** The secret is in the answer and nowhere else. */
export async function createClient(
  sql: Sql,
  tenantId: TenantId,
  actor: Actor,
  { name, scopes }: { name: string; scopes: readonly string[] },
): Promise<NewClient> {
  const clientId = makeClientId();
  const clientSecret = makeClientSecret();
  const secretHash = await hashSecret(clientSecret);
  await sql.begin(async (tx) => {
    await insertClient(tx, tenantId, { clientId, name, scopes, secretHash });
    await recordChange(tx, tenantId, actor, { action: "CreateClient", subject: `clients/${clientId}`, detail: { name, scopes: scopes.join(" ") } });
  });
  return { clientId, clientSecret, scopes };
}

/** By creation, without revoked ones. */
export async function listClients(sql: Sql, tenantId: TenantId): Promise<ClientRow[]> {
  const rows = await sql<{ subject: string; name: string; scopes: string[]; created_at: Date }[]>`
    select subject, name, scopes, created_at from onedata.principals where tenant_id = ${tenantId} and kind = 'client' and revoked_at is null order by id limit 10000`;
  return rows.map((row) => ({ clientId: row.subject, name: row.name, scopes: row.scopes, createdAt: row.created_at }));
}

export async function revokeClient(sql: Sql, tenantId: TenantId, actor: Actor, clientId: string): Promise<void> {
  await sql.begin(async (tx) => {
    const [row] = await tx<{ revoked_at: Date | null }[]>`
      select revoked_at from onedata.principals where tenant_id = ${tenantId} and kind = 'client' and subject = ${clientId} for update`;
    if (row === undefined) throw new OneDataError("client.not_found", `no client ${JSON.stringify(clientId)}`);
    if (row.revoked_at !== null) return;
    await tx`update onedata.principals set revoked_at = now(), secret_hash = null where tenant_id = ${tenantId} and subject = ${clientId}`;
    await recordChange(tx, tenantId, actor, { action: "RevokeClient", subject: `clients/${clientId}` });
  });
}

const toLimits = (limits: Record<string, unknown>): TenantLimits => ({
  eventsPerSecond: toNumber(limits["eventsPerSecond"]),
  backlogBytes: toNumber(limits["backlogBytes"]),
  pipelines: toNumber(limits["pipelines"]),
});

const toNumber = (value: unknown): number => (typeof value === "number" ? value : 0);
