/** The events captured last, for whoever tries a version on them. */
import { type EventId, type TenantId, toBatchId } from "@onedata/core";
import type { Sql } from "../connection.ts";
import { editedPayload } from "./edited-payload.ts";
import { getPipeline } from "./pipelines.ts";

export type LastEvent = {
  readonly id: EventId;
  /** As it would be run again: what was captured, or what it was edited to last. */
  readonly payload: string;
};

const MAX_BYTES = 4 * 1024 * 1024;

/** Newest first, at most 4 MiB together. */
export async function readLastEvents(sql: Sql, tenantId: TenantId, name: string, limit: number): Promise<LastEvent[]> {
  const pipeline = await getPipeline(sql, tenantId, name);
  const rows = await sql<{ batch_id: bigint; n: number; payload: string }[]>`
    with last as (
      select id from onedata.batches where pipeline_id = ${pipeline.id} and tenant_id = ${tenantId} and kind = 'capture' order by id desc limit ${limit}
    ), newest as (
      select e.batch_id, e.n, e.payload from last join onedata.events e on e.batch_id = last.id order by e.batch_id desc, e.n desc limit ${limit}
    ), edited as (
      select n.batch_id, n.n, coalesce(edit.payload, n.payload) as payload from newest n
        left join lateral (${editedPayload(sql, tenantId, { batchId: sql`n.batch_id`, n: sql`n.n` })}) edit on true
    )
    select batch_id, n, payload from (select *, sum(octet_length(payload)) over (order by batch_id desc, n desc) as bytes from edited) x
     where bytes <= ${MAX_BYTES} order by batch_id desc, n desc`;
  return rows.map(({ batch_id, n, payload }) => ({ id: { batchId: toBatchId(batch_id), n }, payload }));
}
