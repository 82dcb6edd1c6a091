/** Deliveries of an event after its first: replays and backfills. */
import type { EventId, TenantId } from "@onedata/core";
import type { Sql } from "../connection.ts";

export type EventDelivery = {
  readonly jobId: bigint | undefined;
  readonly kind: "replay" | "backfill";
  readonly generation: number;
  readonly state: "waiting" | "running" | "done" | "cancelled";
  /** The byte of its verdict; 0 = none. */
  readonly verdict: number;
  readonly version: number | undefined;
  readonly at: Date;
  readonly edited: boolean;
};

const MAX_DELIVERIES = 100;

/** The newest ones, oldest first. */
export async function listEventDeliveries(sql: Sql, tenantId: TenantId, { batchId, n }: EventId): Promise<EventDelivery[]> {
  const rows = await sql<Row[]>`
    select b.job_id, b.kind, b.generation, onedata.time_of(b.id) as at, coalesce(q.version, v.version) as version, coalesce(v.verdict, 0) as verdict,
           q.batch_id is not null as queued, q.run_id is not null as running,
           exists (select from onedata.events x where x.batch_id = r.batch_id and x.n = r.n) as edited
      from onedata.batch_refs r
      join onedata.batches b on b.id = r.batch_id and b.tenant_id = ${tenantId} and b.kind in ('replay', 'backfill')
      left join onedata.queue q on q.batch_id = b.id
      left join lateral (
        select u.version, get_byte(u.verdicts, r.n) as verdict from onedata.runs u
         where u.batch_id = r.batch_id and length(u.verdicts) > r.n order by get_byte(u.verdicts, r.n) = 0, u.attempt desc limit 1) v on true
     where r.src_batch_id = ${batchId} and r.src_n = ${n} order by b.id desc limit ${MAX_DELIVERIES}`;
  return rows.reverse().map((row) => ({
    jobId: row.job_id ?? undefined,
    kind: row.kind,
    generation: row.generation,
    // Its batch may be in the queue again for the sake of others.
    state: row.verdict !== 0 ? "done" : row.running ? "running" : row.queued ? "waiting" : "cancelled",
    verdict: row.verdict,
    version: row.version ?? undefined,
    at: row.at,
    edited: row.edited,
  }));
}

type Row = {
  job_id: bigint | null;
  kind: "replay" | "backfill";
  generation: number;
  at: Date;
  version: number | null;
  verdict: number;
  queued: boolean;
  running: boolean;
  edited: boolean;
};
