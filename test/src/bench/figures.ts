/** What a case measured, and the SQL that reads it from the platform's database afterwards. */
import type { Sql } from "@onedata/store";
import type { Percentiles } from "./sender-protocol.ts";

export type Figures = {
  readonly name: string;
  /** E.g. `solo`, or `cluster, 2 engines`. */
  readonly where: string;
  readonly shape: string;
  readonly acceptedPerSecond: number;
  readonly acceptMs: Percentiles | undefined;
  readonly refused: number;
  readonly delivered?: Delivered;
  /** Microseconds per event by process; postgres with all its backends. */
  readonly cpuUs: Readonly<Record<string, number>>;
  readonly walBytesPerEvent?: number;
  /** Megabytes each half second by process. */
  readonly rssMiB: Readonly<Record<string, readonly number[]>>;
  /** Share of the two machine's cores that others used, 0 to 1. */
  readonly othersBusy: number;
  readonly notes: readonly string[];
};

export type Delivered = {
  readonly events: number;
  readonly perSecond: number;
  /** Milliseconds from when the sender's event was due to when its verdict was written. */
  readonly endToEndMs: Percentiles;
  readonly eventsPerRun: number;
  readonly eventsPerBatch: number;
};

export type Settings = Readonly<Record<string, string>>;

/** The events of pipelines whose name is like `pattern`, captured at or after `fromMs`; undefined when there are none with a verdict. */
export async function readDelivered(sql: Sql, pattern: string, fromMs: number): Promise<Delivered | undefined> {
  const [row] = await sql<{ events: number; last: number; p50: number; p99: number; max: number }[]>`
    with done as materialized (
      select r.batch_id, max(r.ended_at) ended_at from onedata.runs r join onedata.batches b on b.id = r.batch_id join onedata.pipelines p on p.id = b.pipeline_id
       where r.batch_id >= onedata.id_at(to_timestamp(${fromMs / 1000}::float8)) and p.name like ${pattern} group by 1),
    delays as (
      select extract(epoch from d.ended_at)::float8 * 1000 ended_ms,
             extract(epoch from d.ended_at)::float8 * 1000 - substring(e.payload from '"sent":([0-9.]+)')::float8 delay_ms
        from done d join onedata.events e on e.batch_id = d.batch_id)
    select count(*)::int events, max(ended_ms) last, percentile_disc(0.5) within group (order by delay_ms) p50,
           percentile_disc(0.99) within group (order by delay_ms) p99, max(delay_ms) max from delays`;
  if (row === undefined || row.events === 0) return undefined;
  const [shape] = await sql<{ runs: number; batches: number }[]>`
    select count(distinct r.run_id)::int runs, count(distinct r.batch_id)::int batches
      from onedata.runs r join onedata.batches b on b.id = r.batch_id join onedata.pipelines p on p.id = b.pipeline_id
     where r.batch_id >= onedata.id_at(to_timestamp(${fromMs / 1000}::float8)) and p.name like ${pattern}`;
  return {
    events: row.events,
    perSecond: row.events / ((row.last - fromMs) / 1000),
    endToEndMs: { p50: row.p50, p99: row.p99, max: row.max },
    eventsPerRun: row.events / (shape?.runs ?? 1),
    eventsPerBatch: row.events / (shape?.batches ?? 1),
  };
}

export async function readWalBytes(sql: Sql): Promise<number> {
  const [row] = await sql<{ bytes: number }[]>`select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 bytes`;
  return row?.bytes ?? 0;
}

export async function readSettings(sql: Sql): Promise<Settings> {
  const rows = await sql<{ name: string; setting: string }[]>`
    select name, setting from pg_settings where name in ('server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'wal_compression', 'shared_buffers') order by name`;
  return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
}

/** The calls of the newest run, e.g. `total+valid+country (transform), postgres-upsert (load)`: fused steps share one. */
export async function readSteps(sql: Sql, pattern: string): Promise<string> {
  const [row] = await sql<{ calls: string | null }[]>`
    select (select string_agg(concat(s->>'step', ' (', s->>'service', ')'), ', ')
              from jsonb_array_elements(case jsonb_typeof(r.steps) when 'string' then (r.steps #>> '{}')::jsonb else r.steps end) s) calls
      from onedata.runs r join onedata.batches b on b.id = r.batch_id join onedata.pipelines p on p.id = b.pipeline_id
     where p.name like ${pattern} order by r.batch_id desc limit 1`;
  return row?.calls ?? "none";
}

export const countWaiting = async (sql: Sql): Promise<number> => {
  const [row] = await sql<{ n: number }[]>`select coalesce(sum(n), 0)::int n from onedata.queue`;
  return row?.n ?? 0;
};
