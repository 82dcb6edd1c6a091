/**
 * The audit log: one row per change, written in the transaction of the change, so neither exists without the other.
 * Also tells other processes of a change: a NOTIFY that is delivered with the commit. Changes are rare; the hot path never notifies here.
 */
import type { TenantId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";

/** Who does it, as the audit log names them. */
export type Actor = { readonly name: string };

export type AuditEntry = {
  readonly id: bigint;
  readonly at: Date;
  readonly who: string;
  readonly action: string;
  readonly subject: string;
  readonly detail: string;
};

export type Change = {
  readonly action: string;
  readonly subject: string;
  readonly detail?: Readonly<Record<string, string | number | boolean | null>>;
};

/** Payload: `<subject>` of the audit row after the tenant's id, e.g. `7 pipelines/orders`. Losing one costs a cache's age, nothing else. */
export const CHANGES_CHANNEL = "onedata_changes";

export async function recordChange(tx: Transaction, tenantId: TenantId, actor: Actor, change: Change): Promise<void> {
  await tx`
    with logged as (
      insert into onedata.audit (tenant_id, principal, action, subject, detail)
      values (${tenantId}, ${actor.name}, ${change.action}, ${change.subject}, ${JSON.stringify(change.detail ?? {})}::text::jsonb)
      returning 1)
    select pg_notify(${CHANGES_CHANNEL}, ${`${tenantId} ${change.subject}`}) from logged`;
}

/** Newest first; `before` is the last id of the previous page. */
export async function listAudit(
  sql: Sql,
  tenantId: TenantId,
  { limit, before }: { limit: number; before: bigint | undefined },
): Promise<AuditEntry[]> {
  const rows = await sql<{ id: bigint; at: Date; who: string; action: string; subject: string; detail: string }[]>`
    select id, onedata.time_of(id) as at, principal as who, action, subject, detail::text as detail
      from onedata.audit where tenant_id = ${tenantId} and id < ${before ?? 9223372036854775807n} order by id desc limit ${limit}`;
  return [...rows];
}

/** Calls `onChange` with tenant and subject of every change from now on. Disposing stops it. */
export async function listenToChanges(sql: Sql, onChange: (tenantId: string, subject: string) => void): Promise<AsyncDisposable> {
  const subscription = await sql.listen(CHANGES_CHANNEL, (payload) => {
    const space = payload.indexOf(" ");
    onChange(payload.slice(0, space), payload.slice(space + 1));
  });
  return { [Symbol.asyncDispose]: () => subscription.unlisten() };
}
