/**
 * Reads onedata.outputs page by page.
 * Invariant: outputs complete out of order, so a cursor stands at (xid, batch, sink, position) and sees only transactions below every open one:
 * nothing can appear behind it later.
 */
import { type EventId, OneDataError, type TenantId, toBatchId } from "@onedata/core";
import type { Sql } from "../connection.ts";
import { getPipeline } from "./pipelines.ts";
import { toArray } from "./sql-array.ts";
import { getVersion } from "./versions.ts";

export const OUTPUTS_SINK = "onedata.outputs";

export type OutputCursor = { readonly xid: string; readonly batchId: bigint; readonly sink: number; readonly position: number };
export type OutputRow = { readonly event: EventId; readonly k: number; readonly record: string };

const RECORD_SEPARATOR = "\u001e";
/** Of payload text per page: a page never outgrows a call. */
const MAX_PAGE_BYTES = 2 * 1024 * 1024;

/** `next` is always a place to go on from, also when there is nothing more yet. Throws `outputs.unavailable` when the active version has other sinks only. */
export async function listOutputs(
  sql: Sql,
  tenantId: TenantId,
  { name, limit, after }: { name: string; limit: number; after: OutputCursor | undefined },
): Promise<{ outputs: OutputRow[]; next: OutputCursor }> {
  const pipeline = await getPipeline(sql, tenantId, name);
  const sinks = await outputSinks(sql, tenantId, name);
  if (sinks.length === 0 && pipeline.activeVersion !== undefined) {
    throw new OneDataError(
      "outputs.unavailable",
      `pipeline ${JSON.stringify(name)} writes to ${[...new Set(pipeline.sinks)].join(", ")}: read the results there, or add a sink with use: ${OUTPUTS_SINK}`,
    );
  }
  let next: OutputCursor = after ?? { xid: "0", batchId: 0n, sink: 0, position: 0 };
  const rows = await sql<{ batch_id: bigint; sink: number; xid: string; ordinals: number[]; payloads: string }[]>`
    with page as (
      select batch_id, sink, xid, attempt, bytes, cardinality(ordinals) as n,
             sum(cardinality(ordinals)) over w as n_so_far, sum(bytes) over w as bytes_so_far
        from (select batch_id, sink, xid, attempt, bytes, ordinals from onedata.outputs
               where pipeline_id = ${pipeline.id} and sink = any(${toArray(sinks)}::smallint[]) and xid < pg_snapshot_xmin(pg_current_snapshot())
                 and (xid, batch_id, sink) >= (${next.xid}::text::xid8, ${next.batchId}, ${next.sink}::smallint)
               order by xid, batch_id, sink limit ${limit + 1}) o
      window w as (order by xid, batch_id, sink)
    )
    select o.batch_id, o.sink, o.xid::text as xid, o.ordinals, o.payloads
      from page join onedata.outputs o on o.batch_id = page.batch_id and o.sink = page.sink and o.attempt = page.attempt
     where page.n_so_far - page.n < ${limit + next.position} and page.bytes_so_far - page.bytes < ${MAX_PAGE_BYTES}
     order by o.xid, o.batch_id, o.sink`;
  const outputs: OutputRow[] = [];
  for (const row of rows) {
    const isFirst = row.xid === next.xid && row.batch_id === next.batchId && row.sink === next.sink;
    const records = row.payloads.split(RECORD_SEPARATOR);
    let k = 0;
    for (const [position, n] of row.ordinals.entries()) {
      k = position > 0 && row.ordinals[position - 1] === n ? k + 1 : 0;
      if (isFirst && position < next.position) continue;
      if (outputs.length === limit) return { outputs: await toSource(sql, tenantId, outputs), next };
      outputs.push({ event: { batchId: toBatchId(row.batch_id), n }, k, record: records[position] ?? "null" });
      if (position === row.ordinals.length - 1 || outputs.length === limit)
        next = { xid: row.xid, batchId: row.batch_id, sink: row.sink, position: position + 1 };
    }
  }
  return { outputs: await toSource(sql, tenantId, outputs), next };
}

async function outputSinks(sql: Sql, tenantId: TenantId, name: string): Promise<number[]> {
  const { activeVersion } = await getPipeline(sql, tenantId, name);
  if (activeVersion === undefined) return [];
  const { plan } = await getVersion(sql, tenantId, name, activeVersion);
  const [row] = await sql<{ sinks: number[] | null }[]>`
    select array_agg((o - 1)::int) as sinks from json_array_elements(coalesce(${plan}::text::json->'sinks', '[]')) with ordinality s(sink, o)
     where sink->>'kind' = ${OUTPUTS_SINK}`;
  return row?.sinks ?? [];
}

/** An output of a replay belongs to the event that was replayed. */
async function toSource(sql: Sql, tenantId: TenantId, outputs: OutputRow[]): Promise<OutputRow[]> {
  const ids = [...new Set(outputs.map((output) => output.event.batchId))];
  if (ids.length === 0) return outputs;
  const refs = await sql<{ batch_id: bigint; n: number; src_batch_id: bigint; src_n: number }[]>`
    select r.batch_id, r.n, r.src_batch_id, r.src_n from onedata.batches b join onedata.batch_refs r on r.batch_id = b.id
     where b.tenant_id = ${tenantId} and b.id = any(${toArray(ids)}::bigint[]) and b.kind <> 'capture'`;
  const sources = new Map(refs.map((ref) => [`${ref.batch_id}_${ref.n}`, { batchId: toBatchId(ref.src_batch_id), n: ref.src_n }]));
  return outputs.map((output) => ({ ...output, event: sources.get(`${output.event.batchId}_${output.event.n}`) ?? output.event }));
}
