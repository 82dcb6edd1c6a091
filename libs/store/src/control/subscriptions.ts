/**
 * Subscriptions: where a tenant's notices go, and what was sent.
 * Invariants: the signing secret is encrypted and bound to its row; nothing here returns it. A disabled subscription has nothing waiting.
 */
import { OneDataError, type TenantId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";
import type { DeliveryRow, DeliveryState } from "../deliveries.ts";
import { type Actor, recordChange } from "./audit.ts";
import type { SecretBox } from "./secret-box.ts";

export type SubscriptionRow = {
  readonly id: bigint;
  readonly url: string;
  /** Empty = all. */
  readonly topics: readonly string[];
  /** Names; empty = all. */
  readonly pipelines: readonly string[];
  readonly enabled: boolean;
  /** Why messages do not arrive, when they do not. */
  readonly problem: string | undefined;
  readonly createdAt: Date;
  readonly deliveredAt: Date | undefined;
};

export type SubscriptionChange = { readonly url: string; readonly topics: readonly string[]; readonly pipelines: readonly string[] };

const MAX_SUBSCRIPTIONS = 50;
const notFound = (): OneDataError => new OneDataError("subscription.not_found", "no such subscription; GET /v1/subscriptions lists them");

/** Where a secret belongs: sealed for another row it does not open. */
export const placeOfSubscription = (tenantId: TenantId, id: bigint): string => `subscription ${tenantId} ${id}`;

export async function createSubscription(
  sql: Sql,
  tenantId: TenantId,
  actor: Actor,
  { change, secret, box }: { change: SubscriptionChange; secret: string; box: SecretBox },
): Promise<SubscriptionRow> {
  return sql.begin(async (tx) => {
    // Two at once would both count the same: the tenant's row makes them take turns.
    await tx`select 1 from onedata.tenants where id = ${tenantId} for no key update`;
    const [known] = await tx<{ count: number }[]>`select count(*)::int as count from onedata.subscriptions where tenant_id = ${tenantId}`;
    if ((known?.count ?? 0) >= MAX_SUBSCRIPTIONS) {
      throw new OneDataError("capture.quota_exceeded", `the tenant has ${MAX_SUBSCRIPTIONS} subscriptions, the most there may be; remove one first`);
    }
    const [row] = await tx<{ id: bigint }[]>`
      insert into onedata.subscriptions (tenant_id, url, topics, pipelines, created_by)
      values (${tenantId}, ${change.url}, ${toArray(change.topics)}::text[], ${toArray(change.pipelines)}::text[], ${actor.name}) returning id`;
    if (row === undefined) throw new OneDataError("internal", "insert of a subscription returned no row");
    await tx`update onedata.subscriptions set secret = ${box.seal(secret, placeOfSubscription(tenantId, row.id))} where tenant_id = ${tenantId} and id = ${row.id}`;
    await recordChange(tx, tenantId, actor, {
      action: "CreateSubscription",
      subject: `subscriptions/${row.id}`,
      detail: { topics: change.topics.join(" ") },
    });
    return getSubscription(tx, tenantId, row.id);
  });
}

export async function getSubscription(sql: Sql | Transaction, tenantId: TenantId, id: bigint): Promise<SubscriptionRow> {
  const [row] = await sql<SubscriptionRecord[]>`select * from onedata.subscriptions where tenant_id = ${tenantId} and id = ${id}`;
  if (row === undefined) throw notFound();
  return toRow(row);
}

/** By creation. */
export async function listSubscriptions(sql: Sql, tenantId: TenantId): Promise<SubscriptionRow[]> {
  const rows = await sql<SubscriptionRecord[]>`select * from onedata.subscriptions where tenant_id = ${tenantId} order by id limit 1000`;
  return rows.map(toRow);
}

/** A change makes a new start: what was wrong before is forgotten. Disabling ends what waits. */
export async function updateSubscription(
  sql: Sql,
  tenantId: TenantId,
  actor: Actor,
  { id, change, enabled }: { id: bigint; change: SubscriptionChange; enabled: boolean },
): Promise<SubscriptionRow> {
  return sql.begin(async (tx) => {
    const [row] = await tx`
      update onedata.subscriptions set url = ${change.url}, topics = ${toArray(change.topics)}::text[], pipelines = ${toArray(change.pipelines)}::text[], enabled = ${enabled},
             failures = 0, problem = null
       where tenant_id = ${tenantId} and id = ${id} returning 1`;
    if (row === undefined) throw notFound();
    if (!enabled) {
      await tx`
        update onedata.deliveries set state = 'failed', claim = null, finished_at = clock_timestamp(), result = 'the subscription was disabled'
         where tenant_id = ${tenantId} and subscription_id = ${id} and state = 'waiting'`;
    }
    await recordChange(tx, tenantId, actor, {
      action: "UpdateSubscription",
      subject: `subscriptions/${id}`,
      detail: { enabled, topics: change.topics.join(" ") },
    });
    return getSubscription(tx, tenantId, id);
  });
}

/** With what was sent and what waits. */
export async function deleteSubscription(sql: Sql, tenantId: TenantId, actor: Actor, id: bigint): Promise<void> {
  await sql.begin(async (tx) => {
    const [row] = await tx`delete from onedata.subscriptions where tenant_id = ${tenantId} and id = ${id} returning 1`;
    if (row === undefined) throw notFound();
    await recordChange(tx, tenantId, actor, { action: "DeleteSubscription", subject: `subscriptions/${id}` });
  });
}

/** The secret that was current signs beside the new one for a day; one before it ends at once. */
export async function rotateSubscriptionSecret(
  sql: Sql,
  tenantId: TenantId,
  actor: Actor,
  { id, secret, box }: { id: bigint; secret: string; box: SecretBox },
): Promise<SubscriptionRow> {
  return sql.begin(async (tx) => {
    const [row] = await tx`
      update onedata.subscriptions set old_secret = secret, old_secret_until = clock_timestamp() + interval '1 day', secret = ${box.seal(secret, placeOfSubscription(tenantId, id))}
       where tenant_id = ${tenantId} and id = ${id} returning 1`;
    if (row === undefined) throw notFound();
    await recordChange(tx, tenantId, actor, { action: "RotateSubscriptionSecret", subject: `subscriptions/${id}` });
    return getSubscription(tx, tenantId, id);
  });
}

/** Newest first; `before` is the last id of the previous page. */
export async function listDeliveries(
  sql: Sql,
  tenantId: TenantId,
  page: { id: bigint; limit: number; before: bigint | undefined },
): Promise<DeliveryRow[]> {
  await getSubscription(sql, tenantId, page.id);
  const rows = await sql<DeliveryRecord[]>`
    select n.*, n.detail::text as detail, d.state, d.tries, d.result, d.next_try_at from onedata.deliveries d join onedata.notifications n on n.id = d.notification_id
     where d.tenant_id = ${tenantId} and d.subscription_id = ${page.id} and d.notification_id < ${page.before ?? 9223372036854775807n}
     order by d.notification_id desc limit ${page.limit}`;
  return rows.map((row) => ({
    notice: { id: row.id, topic: row.topic, pipeline: row.pipeline, subject: row.subject, detail: row.detail, createdAt: row.created_at },
    state: row.state,
    tries: row.tries,
    result: row.result,
    nextTryAt: row.state === "waiting" ? row.next_try_at : undefined,
  }));
}

type DeliveryRecord = {
  id: bigint;
  topic: string;
  pipeline: string;
  subject: string;
  detail: string;
  created_at: Date;
  state: DeliveryState;
  tries: number;
  result: string;
  next_try_at: Date;
};

type SubscriptionRecord = {
  id: bigint;
  url: string;
  topics: string[];
  pipelines: string[];
  enabled: boolean;
  problem: string | null;
  created_at: Date;
  delivered_at: Date | null;
};

/** An array literal as text: the driver sends no arrays. */
const toArray = (texts: readonly string[]): string => `{${texts.map((text) => `"${text.replaceAll(/["\\]/g, String.raw`\$&`)}"`).join(",")}}`;

const toRow = (row: SubscriptionRecord): SubscriptionRow => ({
  id: row.id,
  url: row.url,
  topics: row.topics,
  pipelines: row.pipelines,
  enabled: row.enabled,
  problem: row.problem ?? undefined,
  createdAt: row.created_at,
  deliveredAt: row.delivered_at ?? undefined,
});
