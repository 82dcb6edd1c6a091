/**
 * Imports that were stopped: their waiting batches stand in a parked lane of the pipeline, where no claim looks and nothing is in anybody's way.
 * Non-duty: deciding that one stops (`self-pause.ts`).
 *
 * Invariants: a batch keeps its `seq`, and its own lane is known from `batches`, so resuming puts every one back where it was; a batch in a run is left to
 * its run; chunks of an upload that goes on are parked in their own transaction (`capture-import.ts`).
 */
import type { PipelineId, TenantId } from "@onedata/core";
import type { Sql, Transaction } from "./connection.ts";

/** Beside the shards of ordered lanes. */
const PARKED_SHARD = 1000;
const BATCHES_PER_STATEMENT = 1000;

export type ParkedImport = { readonly pipelineId: PipelineId; readonly importId: bigint };

/** Moves what waits of the import into the parked lane. Returns how many batches. */
export async function parkImport(sql: Sql | Transaction, tenantId: TenantId, { pipelineId, importId }: ParkedImport): Promise<number> {
  const [lane] = await sql<{ id: bigint }[]>`
    insert into onedata.lanes as l (tenant_id, pipeline_id, class, shard, ordered, parked)
    select p.tenant_id, p.id, 'bulk', ${PARKED_SHARD}, false, true from onedata.pipelines p where p.tenant_id = ${tenantId} and p.id = ${pipelineId}
    on conflict (pipeline_id, class, shard) do update set parked = true returning id`;
  if (lane === undefined) return 0;
  let parked = 0;
  for (let moved = BATCHES_PER_STATEMENT; moved === BATCHES_PER_STATEMENT; parked += moved) {
    const result = await sql`
      update onedata.queue set lane_id = ${lane.id} where batch_id = any(array(
        select q.batch_id from onedata.lanes l join onedata.queue q on q.lane_id = l.id
         where l.pipeline_id = ${pipelineId} and l.class = 'bulk' and not l.parked and q.run_id is null and q.import_id = ${importId}
         order by q.seq limit ${BATCHES_PER_STATEMENT} for update of q skip locked))`;
    moved = result.count;
  }
  return parked;
}

/** Puts the import's batches back into their lanes, in order. Returns how many. */
export async function unparkImport(sql: Sql | Transaction, tenantId: TenantId, { pipelineId, importId }: ParkedImport): Promise<number> {
  let back = 0;
  for (let moved = BATCHES_PER_STATEMENT; moved === BATCHES_PER_STATEMENT; back += moved) {
    const [row] = await sql<{ moved: number }[]>`
      with parked as materialized (
        select q.batch_id, q.seq, b.lane_id
          from onedata.lanes l join onedata.queue q on q.lane_id = l.id join onedata.batches b on b.id = q.batch_id
         where l.tenant_id = ${tenantId} and l.pipeline_id = ${pipelineId} and l.parked and q.run_id is null and q.import_id = ${importId}
         order by q.seq limit ${BATCHES_PER_STATEMENT} for update of q
      ), lowered as (
        -- Claims start an ordered lane at its low mark, and what comes back may stand below it.
        update onedata.lanes l set low_seq = least(l.low_seq, p.seq) from (select lane_id, min(seq) as seq from parked group by lane_id) p where l.id = p.lane_id and l.ordered
      ), lowered_apart as (
        -- Whatever claim has come between: without the lane's claims it waits for that claim and lowers what it set.
        update onedata.lane_runs r set low_seq = least(r.low_seq, p.seq) from (select lane_id, min(seq) as seq from parked group by lane_id) p where r.lane_id = p.lane_id
      ), moved as (
        update onedata.queue q set lane_id = p.lane_id from parked p where q.batch_id = p.batch_id returning 1
      ) select count(*)::int as moved from moved`;
    moved = row?.moved ?? 0;
  }
  return back;
}
