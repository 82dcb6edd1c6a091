/**
 * One round of retention, for the upkeep loop of control: old days go, then what single tenants keep shorter, then figures and leftovers.
 * Any number of processes may run it; each step finds out what is left to do. `problems.ts` says what could not be done.
 */
import { toTenantId } from "@onedata/core";
import type { Sql, Store } from "../connection.ts";
import { deleteOldBatches, deleteOldDeadLetters, type Pace } from "./delete-early.ts";
import { type Dropped, dropDays } from "./drop-days.ts";
import { dropMonths } from "./drop-months.ts";
import { listRetentions, longestOf, type RetentionDays } from "./policy.ts";

export type RetentionRound = {
  readonly days: Dropped;
  readonly months: readonly string[];
  /** Deleted one by one. */
  readonly batches: number;
  readonly deadLetters: number;
  readonly leftovers: number;
};

export type RetentionOptions = {
  /** The operator's maximum. */
  readonly max: RetentionDays;
  readonly now: Date;
  readonly budgetMs?: number;
  readonly pauseMs?: number;
  readonly lockTimeoutMs?: number;
  readonly signal?: AbortSignal;
};

const DAY_MS = 86_400_000;
const DEFAULT_BUDGET_MS = 20_000;
const DEFAULT_PAUSE_MS = 50;
const ROWS_PER_STATEMENT = 2_000;

export async function keepRetention(store: Pick<Store, "sql" | "url">, options: RetentionOptions): Promise<RetentionRound> {
  const { sql } = store;
  const { max, now, signal } = options;
  const before = (days: number): Date => new Date(now.getTime() - days * DAY_MS);
  const pace: Pace = {
    pauseMs: options.pauseMs ?? DEFAULT_PAUSE_MS,
    endMs: performance.now() + (options.budgetMs ?? DEFAULT_BUDGET_MS),
    ...(signal === undefined ? {} : { signal }),
  };
  const retentions = await listRetentions(sql, max);
  const longest = longestOf(retentions, max);
  const lock = options.lockTimeoutMs === undefined ? {} : { lockTimeoutMs: options.lockTimeoutMs };
  const days = await dropDays(store, { cutoff: before(longest.eventsDays), ...lock });
  const months = await dropMonths(store, { cutoff: before(longest.deadLettersDays), ...lock });
  let batches = 0;
  let deadLetters = 0;
  for (const { tenantId, eventsDays, deadLettersDays } of retentions) {
    const tenant = toTenantId(tenantId);
    if (eventsDays < longest.eventsDays) batches += await deleteOldBatches(sql, tenant, { ...pace, cutoff: before(eventsDays) });
    deadLetters += await deleteOldDeadLetters(sql, tenant, { ...pace, cutoff: before(deadLettersDays) });
  }
  const leftovers = await deleteLeftovers(sql, {
    figures: before(Math.max(longest.eventsDays, longest.deadLettersDays)),
    events: before(longest.eventsDays),
  });
  return { days, months, batches, deadLetters, leftovers };
}

/** A bounded part of each, every round: figures per minute, rejected lines (they hold what customers sent) and tallies of imports that ended long ago. */
async function deleteLeftovers(sql: Sql, { figures, events }: { figures: Date; events: Date }): Promise<number> {
  const stats = await sql`
    delete from onedata.pipeline_stats where ctid = any(array(select ctid from onedata.pipeline_stats where minute < ${figures} limit ${ROWS_PER_STATEMENT}))`;
  const rejects = await sql`
    delete from onedata.import_rejects where ctid = any(array(
      select r.ctid from onedata.imports i join onedata.import_rejects r on r.import_id = i.id where i.updated_at < ${events} and i.state <> 'receiving' limit ${ROWS_PER_STATEMENT}))`;
  const imports = await sql`
    with old as materialized (
      select i.id from onedata.imports i where i.updated_at < ${figures} and i.state <> 'receiving'
         and not exists (select from onedata.queue q where q.import_id = i.id) and not exists (select from onedata.import_rejects r where r.import_id = i.id) limit 200
    ), tallied as (delete from onedata.tallies where owner_id = any(array(select id from old)))
    delete from onedata.imports where id = any(array(select id from old))`;
  return stats.count + rejects.count + imports.count;
}
