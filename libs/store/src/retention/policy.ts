/** How long a tenant's data is kept: its own setting under the operator's maximum. */
import type { TenantId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";

/** In days. */
export type RetentionDays = { readonly eventsDays: number; readonly deadLettersDays: number };

/** A day's partition is made from yesterday on, so nothing younger than a day is dropped. */
export const MIN_DAYS = 1;
export const DEFAULT_MAX: RetentionDays = { eventsDays: 7, deadLettersDays: 30 };

/** What the tenant chose; 0 = the operator's maximum. */
export async function readRetention(sql: Sql | Transaction, tenantId: TenantId): Promise<RetentionDays> {
  const [row] = await sql<{ events: number; letters: number }[]>`
    select coalesce((retention->>'eventsDays')::int, 0) as events, coalesce((retention->>'deadLettersDays')::int, 0) as letters
      from onedata.tenants where id = ${tenantId}`;
  return { eventsDays: row?.events ?? 0, deadLettersDays: row?.letters ?? 0 };
}

/** What counts in the end. */
export const toEffective = (chosen: RetentionDays, max: RetentionDays): RetentionDays => ({
  eventsDays: chosen.eventsDays === 0 ? max.eventsDays : Math.max(MIN_DAYS, Math.min(chosen.eventsDays, max.eventsDays)),
  deadLettersDays: chosen.deadLettersDays === 0 ? max.deadLettersDays : Math.max(MIN_DAYS, Math.min(chosen.deadLettersDays, max.deadLettersDays)),
});

export type TenantRetention = RetentionDays & { readonly tenantId: bigint };

/** Of every tenant, in the end. Tenants number in the thousands at most. */
export async function listRetentions(sql: Sql, max: RetentionDays): Promise<TenantRetention[]> {
  const rows = await sql<{ id: bigint; events: number; letters: number }[]>`
    select id, coalesce((retention->>'eventsDays')::int, 0) as events, coalesce((retention->>'deadLettersDays')::int, 0) as letters from onedata.tenants`;
  return rows.map(({ id, events, letters }) => ({ tenantId: id, ...toEffective({ eventsDays: events, deadLettersDays: letters }, max) }));
}

/** What whole partitions are dropped by: the longest of any tenant. */
export function longestOf(retentions: readonly RetentionDays[], max: RetentionDays): RetentionDays {
  if (retentions.length === 0) return max;
  return {
    eventsDays: Math.max(...retentions.map(({ eventsDays }) => eventsDays)),
    deadLettersDays: Math.max(...retentions.map(({ deadLettersDays }) => deadLettersDays)),
  };
}
