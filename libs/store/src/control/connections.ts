/**
 * Connections: a named address and its encrypted secrets.
 * Invariant: no function here returns a secret but `connectionForRun`, whose answer goes only to services that ask for it.
 */
import { isJsonObject, type Json, type JsonObject, OneDataError, type TenantId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";
import { type Actor, recordChange } from "./audit.ts";
import { pipelinesUsingConnection } from "./pipelines.ts";
import type { SecretBox } from "./secret-box.ts";

export type ConnectionRow = {
  readonly name: string;
  readonly kind: string;
  /** JSON, without secrets. */
  readonly config: string;
  readonly secretNames: readonly string[];
  /** Rises with every change: caches compare it. */
  readonly version: number;
  readonly updatedAt: Date;
};

export type RunConnection = {
  readonly name: string;
  readonly kind: string;
  /** JSON of config and secrets together. */
  readonly configJson: string;
  readonly version: number;
};

const notFound = (name: string): OneDataError =>
  new OneDataError("connection.not_found", `no connection ${JSON.stringify(name)}; create it with PUT /v1/connections/${name}`);
const placeOf = (tenantId: TenantId, name: string): string => `connection ${tenantId} ${name}`;

export type ConnectionDraft = {
  readonly name: string;
  readonly kind: string;
  /** JSON, without secrets. */
  readonly config: string;
  /** One left out keeps its value, an empty one is removed. */
  readonly secrets: Readonly<Record<string, string>>;
  readonly box: SecretBox;
  /** Whom the secrets of a connection are for, given its config and secrets together; undefined where that cannot be told. */
  readonly audienceOf: (kind: string, config: JsonObject) => string | undefined;
};

/** Throws `request.invalid` when a secret would be kept for another audience than it was given for: whoever changes an address must know the secret. */
export async function putConnection(
  sql: Sql,
  tenantId: TenantId,
  actor: Actor,
  { name, kind, config, secrets, box, audienceOf }: ConnectionDraft,
): Promise<ConnectionRow> {
  return sql.begin(async (tx) => {
    const [old] = await tx<
      { kind: string; config: string; secret: Uint8Array | null }[]
    >`select kind, config::text as config, secret from onedata.connections where tenant_id = ${tenantId} and name = ${name} for update`;
    const before = old?.secret == null ? {} : readSecrets(box, tenantId, name, old.secret);
    const merged = Object.fromEntries(Object.entries({ ...before, ...secrets }).filter(([, value]) => value !== ""));
    const kept = Object.keys(before).filter((secret) => !(secret in secrets));
    if (old !== undefined && kept.length > 0) {
      const audience = audienceOf(old.kind, { ...readObject(old.config), ...before });
      if (old.kind !== kind || audience === undefined || audience !== audienceOf(kind, { ...readObject(config), ...merged }))
        throw secretsKept(name, kept, { from: old.kind, to: kind });
    }
    const sealed = Object.keys(merged).length === 0 ? null : box.seal(JSON.stringify(merged), placeOf(tenantId, name));
    await tx`
      insert into onedata.connections as c (tenant_id, name, kind, config, secret, secret_key_id, created_by)
      values (${tenantId}, ${name}, ${kind}, ${config}::text::jsonb, ${sealed}, ${sealed === null ? null : `${box.keyId} ${Object.keys(merged).sort().join(" ")}`}, ${actor.name})
      on conflict (tenant_id, name) do update set kind = excluded.kind, config = excluded.config, secret = excluded.secret, secret_key_id = excluded.secret_key_id,
             version = c.version + 1, updated_at = now()`;
    await recordChange(tx, tenantId, actor, {
      action: "PutConnection",
      subject: `connections/${name}`,
      detail: { kind, secrets: Object.keys(secrets).sort().join(" ") },
    });
    return getConnection(tx, tenantId, name);
  });
}

function secretsKept(name: string, kept: readonly string[], { from, to }: { readonly from: string; readonly to: string }): OneDataError {
  const violations = kept.map((secret) => ({
    pointer: `/secrets/${secret}`,
    code: "connection.secret_kept",
    detail:
      from === to
        ? `${JSON.stringify(secret)} was given for another server or user, and is not kept for this one: send it again, or send "" to remove it`
        : `${JSON.stringify(secret)} was given for a connection of kind ${from}, and is not kept for one of kind ${to}: send "" to remove it`,
  }));
  return new OneDataError("request.invalid", `connection ${JSON.stringify(name)}: ${violations.map(({ detail }) => detail).join("; ")}`, {
    violations,
  });
}

export async function getConnection(sql: Sql | Transaction, tenantId: TenantId, name: string): Promise<ConnectionRow> {
  const [row] = await sql<ConnectionRecord[]>`select * from onedata.connections where tenant_id = ${tenantId} and name = ${name}`;
  if (row === undefined) throw notFound(name);
  return toRow(row);
}

/** By name. */
export async function listConnections(sql: Sql, tenantId: TenantId): Promise<ConnectionRow[]> {
  const rows = await sql<ConnectionRecord[]>`select * from onedata.connections where tenant_id = ${tenantId} order by name limit 10000`;
  return rows.map(toRow);
}

/** Throws `connection.in_use` while an active version names it. */
export async function deleteConnection(sql: Sql, tenantId: TenantId, actor: Actor, name: string): Promise<void> {
  await sql.begin(async (tx) => {
    const [row] = await tx`select 1 from onedata.connections where tenant_id = ${tenantId} and name = ${name} for update`;
    if (row === undefined) throw notFound(name);
    const users = await pipelinesUsingConnection(tx, tenantId, name);
    if (users.length > 0)
      throw new OneDataError(
        "connection.in_use",
        `connection ${JSON.stringify(name)} is used by the active version of ${users.join(", ")}; change or delete these pipelines first`,
      );
    await tx`delete from onedata.connections where tenant_id = ${tenantId} and name = ${name}`;
    await recordChange(tx, tenantId, actor, { action: "DeleteConnection", subject: `connections/${name}` });
  });
}

/** With its secrets, for a call to a service that asks for the connection. Throws `connection.not_found`. */
export async function connectionForRun(sql: Sql, tenantId: TenantId, name: string, box: SecretBox): Promise<RunConnection> {
  const [row] = await sql<
    (ConnectionRecord & { config_text: string })[]
  >`select *, config::text as config_text from onedata.connections where tenant_id = ${tenantId} and name = ${name}`;
  if (row === undefined) throw notFound(name);
  const secrets = row.secret === null ? {} : readSecrets(box, tenantId, name, row.secret);
  return { name, kind: row.kind, configJson: mergeJson(row.config_text, secrets), version: row.version };
}

function readSecrets(box: SecretBox, tenantId: TenantId, name: string, sealed: Uint8Array): Record<string, string> {
  const secrets = readObject(box.open(sealed, placeOf(tenantId, name)));
  return Object.fromEntries(Object.entries(secrets).flatMap(([key, value]) => (typeof value === "string" ? [[key, value]] : [])));
}

function readObject(text: string): JsonObject {
  const value: Json = JSON.parse(text);
  return isJsonObject(value) ? value : {};
}

/** The config's own text is kept, so its numbers stay as they are. */
function mergeJson(config: string, secrets: Record<string, string>): string {
  const members = config.trim().slice(1, -1).trim();
  const secret = JSON.stringify(secrets).slice(1, -1);
  return `{${[members, secret].filter((part) => part !== "").join(",")}}`;
}

type ConnectionRecord = {
  name: string;
  kind: string;
  config: unknown;
  secret: Uint8Array | null;
  secret_key_id: string | null;
  version: number;
  updated_at: Date;
};

const toRow = (row: ConnectionRecord): ConnectionRow => ({
  name: row.name,
  kind: row.kind,
  config: JSON.stringify(row.config),
  secretNames: row.secret_key_id?.split(" ").slice(1) ?? [],
  version: row.version,
  updatedAt: row.updated_at,
});
