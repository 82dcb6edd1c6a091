/** Dead letters and their groups, for reading. */
import { type EventId, OneDataError, type TenantId, toBatchId } from "@onedata/core";
import type { Sql } from "../connection.ts";
import { type DeadLetterFilter, toConditions } from "./dead-letter-filter.ts";
import { getPipeline } from "./pipelines.ts";

export type DeadLetterRow = {
  readonly id: bigint;
  readonly event: EventId;
  readonly pipeline: string;
  readonly version: number | undefined;
  /** Id of the step that failed; undefined for a sink. */
  readonly step: string | undefined;
  /** Id of the sink that refused it. */
  readonly sink: string | undefined;
  readonly code: string;
  readonly message: string;
  readonly fingerprint: string;
  readonly state: string;
  readonly createdAt: Date;
  readonly payload: string | undefined;
  readonly traceId: string | undefined;
  /** That replays, replayed or discarded it. */
  readonly jobId: bigint | undefined;
  /** Why it was discarded. */
  readonly reason: string | undefined;
};

export type DeadLetterGroupRow = {
  readonly fingerprint: string;
  readonly count: number;
  readonly sinceVersion: number | undefined;
  readonly firstSeenAt: Date;
  readonly lastSeenAt: Date;
  readonly example: DeadLetterRow;
};

export type DeadLetterPage = {
  readonly filter: DeadLetterFilter;
  /** Empty = any. */
  readonly state: string;
  readonly limit: number;
  readonly before: bigint | undefined;
};

const MAX_GROUPS = 200;
/** Groups are made of this many of the newest open dead letters: a runaway pipeline must not make its own diagnosis slow. */
const MAX_GROUPED = 100_000;

/** Newest first. Throws `pipeline.not_found` for another tenant's pipeline. */
export async function listDeadLetters(sql: Sql, tenantId: TenantId, page: DeadLetterPage): Promise<DeadLetterRow[]> {
  const { pipeline = "" } = page.filter;
  const pipelineId = pipeline === "" ? undefined : (await getPipeline(sql, tenantId, pipeline)).id;
  const rows = await sql<DeadLetterRecord[]>`
    ${selectLetters(sql)}
     where d.tenant_id = ${tenantId} and d.id < ${page.before ?? 9223372036854775807n}
       ${pipelineId === undefined ? sql`` : sql`and d.pipeline_id = ${pipelineId}`}
       ${toConditions(sql, tenantId, page.filter)}
       ${page.state === "" ? sql`` : sql`and d.state = ${page.state}`}
     order by d.id desc limit ${page.limit}`;
  return rows.map(toRow);
}

export async function getDeadLetter(sql: Sql, tenantId: TenantId, id: bigint): Promise<DeadLetterRow> {
  const [row] = await sql<DeadLetterRecord[]>`${selectLetters(sql)} where d.tenant_id = ${tenantId} and d.id = ${id}`;
  if (row === undefined) throw new OneDataError("deadletter.not_found", "no dead letter with this id");
  return toRow(row);
}

/** A replay's letter names the event that was replayed. */
const selectLetters = (sql: Sql) => sql`
  select d.*, coalesce(p.name, '') as pipeline, encode(d.trace_id, 'hex') as trace, onedata.time_of(d.id) as created_at, r.src_batch_id, r.src_n,
         case when d.state = 'discarded' then j.spec->>'reason' end as reason
    from onedata.dead_letters d
    left join onedata.pipelines p on p.id = d.pipeline_id and p.tenant_id = d.tenant_id
    left join lateral (select x.src_batch_id, x.src_n from onedata.batch_refs x where x.batch_id = d.batch_id and x.n = d.n offset 0) r on true
    left join onedata.jobs j on j.id = d.job_id and j.tenant_id = d.tenant_id`;

/** Open ones by pipeline and fingerprint, largest first. */
export async function groupDeadLetters(sql: Sql, tenantId: TenantId, { pipeline }: { pipeline: string }): Promise<DeadLetterGroupRow[]> {
  const pipelineId = pipeline === "" ? undefined : (await getPipeline(sql, tenantId, pipeline)).id;
  const rows = await sql<(DeadLetterRecord & { count: number; since_version: number | null; first_id: bigint })[]>`
    with open as materialized (
      select id, pipeline_id, fingerprint, version from onedata.dead_letters
       where tenant_id = ${tenantId} and state = 'open' ${pipelineId === undefined ? sql`` : sql`and pipeline_id = ${pipelineId}`}
       order by id desc limit ${MAX_GROUPED}
    ), grouped as (
      select pipeline_id, fingerprint, count(*)::int as count, min(version) as since_version, min(id) as first_id, max(id) as last_id
        from open group by pipeline_id, fingerprint order by count(*) desc limit ${MAX_GROUPS}
    )
    select g.count, g.since_version, g.first_id, onedata.time_of(g.first_id) as first_seen_at, d.*, coalesce(p.name, '') as pipeline, encode(d.trace_id, 'hex') as trace,
           onedata.time_of(d.id) as created_at, r.src_batch_id, r.src_n
      from grouped g join onedata.dead_letters d on d.id = g.last_id
      left join onedata.pipelines p on p.id = d.pipeline_id
      left join lateral (select x.src_batch_id, x.src_n from onedata.batch_refs x where x.batch_id = d.batch_id and x.n = d.n offset 0) r on true
     order by g.count desc, g.last_id desc`;
  return rows.map((row) => {
    const example = toRow(row);
    return {
      fingerprint: row.fingerprint,
      count: row.count,
      sinceVersion: row.since_version ?? undefined,
      firstSeenAt: row.first_seen_at ?? example.createdAt,
      lastSeenAt: example.createdAt,
      example,
    };
  });
}

type DeadLetterRecord = {
  id: bigint;
  batch_id: bigint;
  n: number;
  src_batch_id: bigint | null;
  src_n: number | null;
  pipeline: string;
  version: number | null;
  step: string | null;
  sink: string | null;
  code: string;
  message: string;
  fingerprint: string;
  state: string;
  created_at: Date;
  first_seen_at?: Date;
  payload: string | null;
  trace: string | null;
  job_id: bigint | null;
  reason?: string | null;
};

const toRow = (row: DeadLetterRecord): DeadLetterRow => ({
  id: row.id,
  event: { batchId: toBatchId(row.src_batch_id ?? row.batch_id), n: row.src_n ?? row.n },
  pipeline: row.pipeline,
  version: row.version ?? undefined,
  step: row.sink === null ? (row.step ?? undefined) : undefined,
  sink: row.sink ?? undefined,
  code: row.code,
  message: row.message,
  fingerprint: row.fingerprint,
  state: row.state,
  createdAt: row.created_at,
  payload: row.payload ?? undefined,
  traceId: row.trace ?? undefined,
  jobId: row.state === "open" ? undefined : (row.job_id ?? undefined),
  reason: row.reason ?? undefined,
});
