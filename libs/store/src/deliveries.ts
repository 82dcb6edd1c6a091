/**
 * The queue of webhook messages: claim, finish, retention.
 *
 * Invariants:
 * 1. A claim is a lease: `next_try_at` moves to its end and `claim` is the fence, so a process that dies between claim and send costs a minute and loses nothing.
 * 2. A try counts when it has an outcome, never when it is claimed.
 * 3. At most one message of a subscription is in a claim, and subscriptions whose last try failed are claimed apart: a dead receiver delays itself alone.
 */
import { type TenantId, toTenantId } from "@onedata/core";
import type { Sql, Transaction } from "./connection.ts";

export type DeliveryState = "waiting" | "delivered" | "failed";

export type NoticeRow = {
  readonly id: bigint;
  readonly topic: string;
  /** Its name when it happened; empty for a test. */
  readonly pipeline: string;
  readonly subject: string;
  /** JSON. */
  readonly detail: string;
  readonly createdAt: Date;
};

export type DeliveryRow = {
  readonly notice: NoticeRow;
  readonly state: DeliveryState;
  readonly tries: number;
  readonly result: string;
  readonly nextTryAt: Date | undefined;
};

export type ClaimedDelivery = {
  readonly claim: string;
  readonly notice: NoticeRow;
  readonly tenantId: TenantId;
  readonly subscriptionId: bigint;
  readonly url: string;
  /** Sealed. `oldSecret` only while it still signs. */
  readonly secret: Uint8Array;
  readonly oldSecret: Uint8Array | undefined;
  /** Finished tries of this message. */
  readonly tries: number;
};

export type DeliveryOutcome =
  | { readonly kind: "delivered"; readonly result: string }
  /** `retryInMs` undefined: that was the last try. */
  | { readonly kind: "failed"; readonly result: string; readonly retryInMs: number | undefined }
  /** The receiver wants no more: the subscription is disabled. */
  | { readonly kind: "gone"; readonly result: string };

export type DeliveryClaim = {
  readonly claim: string;
  readonly leaseMs: number;
  readonly limit: number;
  /** Of subscriptions whose last try failed, or of the others. */
  readonly troubled: boolean;
  /** Subscriptions that this process sends to right now. */
  readonly busy: readonly bigint[];
};

/** Over all tenants: the oldest due message of each subscription. */
export async function claimDeliveries(sql: Sql, { claim, leaseMs, limit, troubled, busy }: DeliveryClaim): Promise<ClaimedDelivery[]> {
  const rows = await sql<ClaimRecord[]>`
    with due as materialized (
      select first.* from (select distinct subscription_id from onedata.deliveries where state = 'waiting' and next_try_at <= clock_timestamp()) w
        join onedata.subscriptions s on s.id = w.subscription_id and s.enabled and s.secret is not null and (s.failures > 0) = ${troubled}
        cross join lateral (
          select d.subscription_id, d.notification_id, d.next_try_at from onedata.deliveries d
           where d.subscription_id = s.id and d.state = 'waiting' and d.next_try_at <= clock_timestamp() order by d.next_try_at, d.notification_id limit 1
        ) first
       where s.id <> all(${`{${busy.join(",")}}`}::bigint[])
       order by first.next_try_at limit ${limit}
    ), locked as materialized (
      select d.subscription_id, d.notification_id from onedata.deliveries d
       where (d.subscription_id, d.notification_id) in (select subscription_id, notification_id from due) and d.state = 'waiting' and d.next_try_at <= clock_timestamp()
         for update skip locked
    ), claimed as (
      update onedata.deliveries d set claim = ${claim}, next_try_at = clock_timestamp() + make_interval(secs => ${leaseMs}::float8 / 1000)
        from locked l where d.subscription_id = l.subscription_id and d.notification_id = l.notification_id
      returning d.subscription_id, d.notification_id, d.tries
    )
    select n.id, n.topic, n.pipeline, n.subject, n.detail::text as detail, n.created_at, c.tries, s.id as subscription_id, s.tenant_id, s.url, s.secret,
           case when s.old_secret_until > clock_timestamp() then s.old_secret end as old_secret
      from claimed c join onedata.notifications n on n.id = c.notification_id join onedata.subscriptions s on s.id = c.subscription_id`;
  return rows.map((row) => toClaimed(row, claim));
}

/** Behind the fence: returns false when the lease had passed to somebody else. */
export async function finishDelivery(sql: Sql, { claim, subscriptionId, notice }: ClaimedDelivery, outcome: DeliveryOutcome): Promise<boolean> {
  const state = outcome.kind === "delivered" ? "delivered" : outcome.kind === "failed" && outcome.retryInMs !== undefined ? "waiting" : "failed";
  const retryMs = outcome.kind === "failed" ? (outcome.retryInMs ?? 0) : 0;
  return sql.begin(async (tx) => {
    const [fenced] = await tx`
      update onedata.deliveries set state = ${state}, tries = tries + 1, result = ${outcome.result}, claim = null,
             next_try_at = clock_timestamp() + make_interval(secs => ${retryMs}::float8 / 1000), finished_at = case when ${state} <> 'waiting' then clock_timestamp() end
       where subscription_id = ${subscriptionId} and notification_id = ${notice.id} and claim = ${claim} returning 1`;
    if (fenced === undefined) return false;
    if (outcome.kind === "delivered")
      await tx`update onedata.subscriptions set failures = 0, problem = null, delivered_at = clock_timestamp() where id = ${subscriptionId}`;
    else if (outcome.kind === "failed") {
      await tx`
        update onedata.subscriptions set failures = failures + 1,
               problem = case when failures = 0 then 'the last try failed: ' else 'the last ' || failures + 1 || ' tries failed, the last one: ' end || ${outcome.result}
         where id = ${subscriptionId}`;
    } else {
      await tx`update onedata.subscriptions set enabled = false, failures = failures + 1, problem = ${outcome.result} where id = ${subscriptionId}`;
      await tx`
        update onedata.deliveries set state = 'failed', claim = null, finished_at = clock_timestamp(), result = 'the subscription was disabled'
         where subscription_id = ${subscriptionId} and state = 'waiting'`;
    }
    return true;
  });
}

/** Not sent after all, because the process stops: due again at once, for another process. */
export async function releaseDelivery(sql: Sql, { claim, subscriptionId, notice }: ClaimedDelivery): Promise<void> {
  await sql`
    update onedata.deliveries set claim = null, next_try_at = clock_timestamp()
     where subscription_id = ${subscriptionId} and notification_id = ${notice.id} and claim = ${claim}`;
}

/** A test message for one subscription, claimed by the caller already; sent to a disabled one too. `undefined`: no such subscription. */
export async function claimTestDelivery(
  sql: Sql,
  tenantId: TenantId,
  { id, claim, leaseMs, by }: { id: bigint; claim: string; leaseMs: number; by: string },
): Promise<ClaimedDelivery | undefined> {
  return sql.begin(async (tx: Transaction) => {
    const [row] = await tx<ClaimRecord[]>`
      with subscription as (
        select * from onedata.subscriptions where tenant_id = ${tenantId} and id = ${id} and secret is not null for key share
      ), notice as (
        insert into onedata.notifications (tenant_id, topic, subject, episode, detail)
        select tenant_id, 'test', 'subscriptions/' || id, ${claim}, ${JSON.stringify({ by })}::text::jsonb from subscription
        returning *
      ), delivery as (
        insert into onedata.deliveries (notification_id, subscription_id, tenant_id, claim, next_try_at)
        select n.id, s.id, s.tenant_id, ${claim}, clock_timestamp() + make_interval(secs => ${leaseMs}::float8 / 1000) from notice n, subscription s
      )
      select n.id, n.topic, n.pipeline, n.subject, n.detail::text as detail, n.created_at, 0 as tries, s.id as subscription_id, s.tenant_id, s.url, s.secret,
             case when s.old_secret_until > clock_timestamp() then s.old_secret end as old_secret
        from notice n, subscription s`;
    return row === undefined ? undefined : toClaimed(row, claim);
  });
}

const KEPT = "7 days";
const GROWTH_KEPT = "35 days";
const ROWS_PER_STATEMENT = 5_000;

/** Retention of the outbox, in small statements. Returns how many notices went. */
export async function pruneNotifications(sql: Sql, signal?: AbortSignal): Promise<number> {
  let pruned = 0;
  for (let deleted = ROWS_PER_STATEMENT; deleted === ROWS_PER_STATEMENT && signal?.aborted !== true; pruned += deleted) {
    const result = await sql`
      with old as (
        delete from onedata.notifications where id in (select id from onedata.notifications where created_at < now() - ${KEPT}::interval limit ${ROWS_PER_STATEMENT}) returning id
      ), sent as (
        delete from onedata.deliveries where notification_id in (select id from old)
      )
      select id from old`;
    deleted = result.length;
  }
  await sql`delete from onedata.dead_letter_growth where updated_at < now() - ${GROWTH_KEPT}::interval`;
  return pruned;
}

type ClaimRecord = {
  id: bigint;
  topic: string;
  pipeline: string;
  subject: string;
  detail: string;
  created_at: Date;
  tries: number;
  subscription_id: bigint;
  tenant_id: bigint;
  url: string;
  secret: Uint8Array;
  old_secret: Uint8Array | null;
};

const toClaimed = (row: ClaimRecord, claim: string): ClaimedDelivery => ({
  claim,
  notice: { id: row.id, topic: row.topic, pipeline: row.pipeline, subject: row.subject, detail: row.detail, createdAt: row.created_at },
  tenantId: toTenantId(row.tenant_id),
  subscriptionId: row.subscription_id,
  url: row.url,
  secret: row.secret,
  oldSecret: row.old_secret ?? undefined,
  tries: row.tries,
});
