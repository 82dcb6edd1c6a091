/** The events behind open dead letters, for whoever tries a version on them. */
import { type EventId, type PipelineId, type TenantId, toBatchId } from "@onedata/core";
import type { Sql } from "../connection.ts";
import { countMatching, type DeadLetterFilter, toConditions } from "./dead-letter-filter.ts";
import { editedPayload } from "./edited-payload.ts";

export type LetterSource = {
  readonly event: EventId;
  /** As it would be replayed: what was captured, or what it was edited to last. */
  readonly payload: string;
  readonly capturedAt: Date;
  /** What sinks refused of it, and why. */
  readonly refused: readonly { readonly sink: string; readonly payload: string; readonly code: string; readonly message: string }[];
};

const MAX_BYTES = 8 * 1024 * 1024;
const LATEST = 9223372036854775807n;

/** The newest letters' events, each once, at most `limit` and 8 MiB; `matching` counts all letters that meet the filter. Events past retention are missing. */
export async function readLetterSources(
  sql: Sql,
  tenantId: TenantId,
  { pipelineId, filter, limit }: { readonly pipelineId: PipelineId; readonly filter: DeadLetterFilter; readonly limit: number },
): Promise<{ matching: number; sources: LetterSource[] }> {
  const { open } = await countMatching(sql, tenantId, { pipelineId, filter, upTo: LATEST });
  const rows = await sql<Row[]>`
    with letter as materialized (
      select d.id, d.batch_id, d.n, d.sink, d.payload, d.code, d.message from onedata.dead_letters d
       where d.tenant_id = ${tenantId} and d.pipeline_id = ${pipelineId} and d.state = 'open' ${toConditions(sql, tenantId, filter)} order by d.id desc limit ${limit * 2}
    ), place as materialized (
      select batch_id, n, max(id) as id,
             coalesce(json_agg(json_build_object('sink', sink, 'payload', payload, 'code', code, 'message', message)) filter (where sink is not null), '[]')::text as refused
        from letter group by batch_id, n order by max(id) desc limit ${limit}
    ), source as (
      select p.id, coalesce(r.src_batch_id, p.batch_id) as batch_id, coalesce(r.src_n, p.n) as n, coalesce(o.payload, e.payload) as payload, p.refused
        from place p
        left join lateral (select x.* from onedata.batch_refs x where x.batch_id = p.batch_id and x.n = p.n offset 0) r on true
        cross join lateral (select x.payload from onedata.events x where x.batch_id = coalesce(r.src_batch_id, p.batch_id) and x.n = coalesce(r.src_n, p.n) offset 0) e
        left join lateral (${editedPayload(sql, tenantId, { batchId: sql`coalesce(r.src_batch_id, p.batch_id)`, n: sql`coalesce(r.src_n, p.n)` })}) o on true
    )
    select batch_id, n, payload, refused, onedata.time_of(batch_id) as captured_at
      from (select *, sum(octet_length(payload)) over (order by id desc) as bytes from source) s where bytes <= ${MAX_BYTES} order by id desc`;
  return {
    matching: open,
    sources: rows.map((row) => {
      const refused: LetterSource["refused"] = JSON.parse(row.refused);
      return { event: { batchId: toBatchId(row.batch_id), n: row.n }, payload: row.payload, capturedAt: row.captured_at, refused };
    }),
  };
}

type Row = { batch_id: bigint; n: number; payload: string; refused: string; captured_at: Date };
