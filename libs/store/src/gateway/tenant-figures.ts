/** Limits and figures that quotas compare with, read each second for the tenants that a gateway has seen. */
import { type TenantId, toTenantId } from "@onedata/core";
import type { Sql } from "../connection.ts";

export type TenantFigures = {
  readonly tenantId: TenantId;
  readonly eventsPerSecond: number;
  readonly backlogBytesLimit: number;
  readonly backlogBytes: number;
  /** Events captured by all gateways in the minute that began at `minute` (Unix, in minutes), and in the one before; 0 where there is no rate. */
  readonly minute: number;
  readonly captured: number;
  readonly capturedBefore: number;
};

/** 0 = no limit. The backlog is summed only where it is limited, and so are the captured events. */
export async function readTenantFigures(sql: Sql, tenants: readonly TenantId[]): Promise<readonly TenantFigures[]> {
  const rows = await sql<{ id: bigint; rate: number; backlog_limit: number; backlog: number; minute: number; captured: number; before: number }[]>`
    with t as materialized (
      select id, coalesce((limits->>'eventsPerSecond')::float8, (limits->>'events_per_second')::float8, 0) as rate,
             coalesce((limits->>'backlogBytes')::float8, (limits->>'backlog_bytes')::float8, 0) as backlog_limit
        from onedata.tenants where id = any(${`{${tenants.join(",")}}`}::bigint[])
    )
    select t.id, t.rate, t.backlog_limit, coalesce(b.bytes, 0)::float8 as backlog,
           (extract(epoch from date_trunc('minute', now())) / 60)::float8 as minute, coalesce(c.captured, 0)::float8 as captured, coalesce(c.before, 0)::float8 as before
      from t left join lateral (
        select sum(q.bytes) as bytes from onedata.lanes l join onedata.queue q on q.lane_id = l.id where l.tenant_id = t.id and t.backlog_limit > 0
      ) b on true left join lateral (
        select sum(s.captured) filter (where s.minute >= date_trunc('minute', now())) as captured,
               sum(s.captured) filter (where s.minute < date_trunc('minute', now())) as before
          from onedata.pipelines p join onedata.pipeline_stats s on s.pipeline_id = p.id
         where p.tenant_id = t.id and t.rate > 0 and s.minute >= date_trunc('minute', now()) - interval '1 minute'
      ) c on true`;
  return rows.map((row) => ({
    tenantId: toTenantId(row.id),
    eventsPerSecond: row.rate,
    backlogBytesLimit: row.backlog_limit,
    backlogBytes: row.backlog,
    minute: row.minute,
    captured: row.captured,
    capturedBefore: row.before,
  }));
}

export type CapturedCount = { readonly pipelineId: bigint; readonly events: number; readonly bytes: number };

/** Adds what was captured to the figures of this minute. `stripe` keeps gateways off each other's rows. */
export async function addCaptured(sql: Sql, counts: readonly CapturedCount[], stripe: number): Promise<void> {
  const literal = (values: readonly (bigint | number)[]): string => `{${values.join(",")}}`;
  await sql`
    insert into onedata.pipeline_stats as s (pipeline_id, minute, stripe, captured, bytes)
    select x.pipeline_id, date_trunc('minute', clock_timestamp()), ${stripe}::smallint, x.events, x.bytes
      from unnest(${literal(counts.map((count) => count.pipelineId))}::bigint[], ${literal(counts.map((count) => count.events))}::bigint[],
                  ${literal(counts.map((count) => count.bytes))}::bigint[]) x(pipeline_id, events, bytes) order by 1
    on conflict (pipeline_id, minute, stripe) do update set captured = s.captured + excluded.captured, bytes = s.bytes + excluded.bytes`;
}
