/**
 * Deletes rows inside living partitions: of tenants that keep less than the others, and dead letters to the day.
 *
 * Invariants:
 * 1. Small statements with pauses between them: the hot path does not feel it. What is not done in this round is done in the next.
 * 2. Nothing that waits, runs, was done after the cutoff, stands in no file yet, or that a replay, an open job or an open dead letter needs: the rules of
 *    `held-rows.ts`, for whole batches.
 * 3. Rows are found by tenant and pipeline as the batches have them, so data of a deleted pipeline goes like any other.
 */
import { setTimeout as pause } from "node:timers/promises";
import type { TenantId } from "@onedata/core";
import type { Sql } from "../connection.ts";
import { FILE_PLACES, unexportedOf } from "./unexported.ts";

export type Pace = { readonly pauseMs: number; readonly endMs: number; readonly signal?: AbortSignal | undefined };

const BATCHES_PER_STATEMENT = 200;
const ROWS_PER_STATEMENT = 2_000;

const mayGoOn = ({ endMs, signal }: Pace): boolean => signal?.aborted !== true && performance.now() < endMs;

/** Events, runs, outputs and batches of one tenant below the cutoff. Returns how many batches went. */
export async function deleteOldBatches(sql: Sql, tenantId: TenantId, { cutoff, ...pace }: Pace & { readonly cutoff: Date }): Promise<number> {
  let deleted = 0;
  for (const pipelineId of await listPipelinesWithBatches(sql, tenantId)) {
    for (let after = 0n; mayGoOn(pace); ) {
      const step = await deleteSome(sql, tenantId, { pipelineId, after, cutoff });
      deleted += step.deleted;
      if (step.looked < BATCHES_PER_STATEMENT) break;
      after = step.last;
      await pause(pace.pauseMs);
    }
  }
  return deleted;
}

/** A loose scan over the index by pipeline: living and deleted ones. */
export async function listPipelinesWithBatches(sql: Sql, tenantId: TenantId): Promise<bigint[]> {
  const rows = await sql<{ id: bigint }[]>`
    with recursive found as (
      (select pipeline_id, tenant_id from onedata.batches order by pipeline_id, id limit 1)
      union all
      select x.pipeline_id, x.tenant_id from found f cross join lateral (
        select pipeline_id, tenant_id from onedata.batches b where b.pipeline_id > f.pipeline_id order by b.pipeline_id, b.id limit 1) x
    ) select pipeline_id as id from found where tenant_id = ${tenantId}`;
  return rows.map(({ id }) => id);
}

async function deleteSome(
  sql: Sql,
  tenantId: TenantId,
  { pipelineId, after, cutoff }: { pipelineId: bigint; after: bigint; cutoff: Date },
): Promise<{ looked: number; deleted: number; last: bigint }> {
  const [row] = await sql<{ looked: number; deleted: number; last: bigint }[]>`
    with ${sql.unsafe(FILE_PLACES)}, looked as materialized (
      select id from onedata.batches
       where pipeline_id = ${pipelineId} and tenant_id = ${tenantId} and id > ${after} and id < onedata.id_at(${cutoff}) order by id limit ${BATCHES_PER_STATEMENT}
    ), gone as materialized (
      select l.id from looked l
       where not exists (select from onedata.queue q where q.batch_id = l.id)
         and not exists (select from onedata.runs r where r.batch_id = l.id and r.ended_at >= ${cutoff})
         and not exists (select from onedata.batch_refs r join onedata.queue q on q.batch_id = r.batch_id where r.src_batch_id = l.id)
         and not exists (select from onedata.dead_letters d where d.batch_id = l.id and d.state in ('open', 'replaying'))
         and not exists (select from onedata.batch_refs r join onedata.dead_letters d on d.batch_id = r.batch_id and d.n = r.n
                          where r.src_batch_id = l.id and d.state in ('open', 'replaying'))
         and not exists (select from ${sql.unsafe(unexportedOf("onedata.outputs", "onedata.runs"))} where o.batch_id = l.id and f.pipeline_id = ${pipelineId})
         and l.id not in (select batch_id from onedata.referenced_batches((select min(id) from looked), (select max(id) + 1 from looked)))
    ), events as (delete from onedata.events where batch_id = any(array(select id from gone))
    ), runs as (delete from onedata.runs where batch_id = any(array(select id from gone))
    ), outputs as (delete from onedata.outputs where batch_id = any(array(select id from gone))
    ), refs as (delete from onedata.batch_refs where batch_id = any(array(select id from gone))
    ), batches as (delete from onedata.batches where id = any(array(select id from gone)) returning id)
    select (select count(*)::int from looked) as looked, (select count(*)::int from batches) as deleted, (select coalesce(max(id), 0) from looked) as last`;
  return row ?? { looked: 0, deleted: 0, last: after };
}

/** Dead letters of one tenant below the cutoff, but for those that a job replays now. */
export async function deleteOldDeadLetters(sql: Sql, tenantId: TenantId, { cutoff, ...pace }: Pace & { readonly cutoff: Date }): Promise<number> {
  let deleted = 0;
  while (mayGoOn(pace)) {
    const result = await sql`
      delete from onedata.dead_letters where id = any(array(
        select id from onedata.dead_letters where tenant_id = ${tenantId} and id < onedata.id_at(${cutoff}) and state <> 'replaying' order by id limit ${ROWS_PER_STATEMENT}))`;
    deleted += result.count;
    if (result.count < ROWS_PER_STATEMENT) break;
    await pause(pace.pauseMs);
  }
  return deleted;
}
