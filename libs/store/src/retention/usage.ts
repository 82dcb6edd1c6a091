/**
 * What a tenant holds, by day. Read from the batches, which carry their counts and bytes, so it is exact and reads no payload.
 * Bounded: where there are more batches than can be added up in time, the days come from the figures per minute, which miss what applications captured by SQL.
 */
import type { TenantId } from "@onedata/core";
import { type Sql, sqlStateOf, type Transaction } from "../connection.ts";
import { listPipelinesWithBatches } from "./delete-early.ts";

export type UsageDay = { readonly day: string; readonly events: number; readonly bytes: number };

export type Usage = {
  readonly eventBytes: number;
  readonly events: number;
  readonly outputBytes: number;
  /** Counted to 100,000. */
  readonly openDeadLetters: number;
  readonly backlogBytes: number;
  readonly backlogEvents: number;
  readonly oldestAt: Date | undefined;
  /** Newest first. */
  readonly days: readonly UsageDay[];
};

const MOST_MS = 3_000;

export async function readUsage(sql: Sql, tenantId: TenantId, mostMs = MOST_MS): Promise<Usage> {
  const pipelines = `{${(await listPipelinesWithBatches(sql, tenantId)).join(",")}}`;
  const days =
    (await inTime(
      sql,
      mostMs,
      (tx) => tx<DayRow[]>`
      select to_char(onedata.time_of(id) at time zone 'UTC', 'YYYY-MM-DD') as day, sum(n)::float8 as events, sum(bytes)::float8 as bytes
        from onedata.batches where pipeline_id = any(${pipelines}::bigint[]) and tenant_id = ${tenantId} and kind = 'capture' group by 1 order by 1 desc`,
    )) ??
    (await sql<DayRow[]>`
      select to_char(s.minute at time zone 'UTC', 'YYYY-MM-DD') as day, sum(s.captured)::float8 as events, sum(s.bytes)::float8 as bytes
        from onedata.pipeline_stats s join onedata.pipelines p on p.id = s.pipeline_id
       where p.tenant_id = ${tenantId} and s.minute > now() - interval '31 days' group by 1 having sum(s.captured) > 0 order by 1 desc`);
  const [outputs] =
    (await inTime(
      sql,
      mostMs,
      (tx) => tx<{ bytes: number }[]>`
    select coalesce(sum(bytes), 0)::float8 as bytes from onedata.outputs where pipeline_id = any(${pipelines}::bigint[])`,
    )) ?? [];
  const [row] = await sql<{ letters: number; bytes: number; events: number; oldest: Date | null }[]>`
    select (select count(*)::int from (select 1 from onedata.dead_letters where tenant_id = ${tenantId} and state = 'open' limit 100000) l) as letters,
           b.bytes, b.events,
           (select onedata.time_of(min(x.id)) from unnest(${pipelines}::bigint[]) p(id) cross join lateral (
              select id from onedata.batches where pipeline_id = p.id and kind = 'capture' order by id limit 1) x) as oldest
      from (select coalesce(sum(q.bytes), 0)::float8 as bytes, coalesce(sum(q.n), 0)::float8 as events
              from onedata.lanes l join onedata.queue q on q.lane_id = l.id where l.tenant_id = ${tenantId}) b`;
  return {
    eventBytes: days.reduce((sum, { bytes }) => sum + bytes, 0),
    events: days.reduce((sum, { events }) => sum + events, 0),
    outputBytes: outputs?.bytes ?? 0,
    openDeadLetters: row?.letters ?? 0,
    backlogBytes: row?.bytes ?? 0,
    backlogEvents: row?.events ?? 0,
    oldestAt: row?.oldest ?? undefined,
    days: days.map(({ day, events, bytes }) => ({ day, events, bytes })),
  };
}

type DayRow = { day: string; events: number; bytes: number };

/** `undefined` = it took longer. */
async function inTime<T>(sql: Sql, mostMs: number, work: (tx: Transaction) => Promise<T>): Promise<T | undefined> {
  try {
    return await sql
      .begin(async (tx): Promise<{ value: T }> => {
        await tx.unsafe(`set local statement_timeout = ${Math.max(1, Math.round(mostMs))}`);
        return { value: await work(tx) };
      })
      .then(({ value }) => value);
  } catch (error) {
    if (sqlStateOf(error) === "57014") return undefined;
    throw error;
  }
}

/** Of the whole installation, for operators. */
export async function readDatabaseBytes(sql: Sql): Promise<number> {
  const [row] = await sql<{ bytes: number }[]>`select pg_database_size(current_database())::float8 as bytes`;
  return row?.bytes ?? 0;
}
