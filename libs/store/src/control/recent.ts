/** The last captured payloads of a pipeline, for previews. Bounded work: newest batches first, until there are enough. */
import type { TenantId } from "@onedata/core";
import type { Sql } from "../connection.ts";
import { getPipeline } from "./pipelines.ts";

/** Newest first, at most `limit`. Throws `pipeline.not_found`. */
export async function readRecentPayloads(sql: Sql, tenantId: TenantId, { name, limit }: { name: string; limit: number }): Promise<string[]> {
  const pipeline = await getPipeline(sql, tenantId, name);
  const rows = await sql<{ payload: string }[]>`
    select e.payload
      from (select id from onedata.batches where pipeline_id = ${pipeline.id} and tenant_id = ${tenantId} and kind = 'capture' order by id desc limit ${limit}) b
      join onedata.events e on e.batch_id = b.id order by e.batch_id desc, e.n desc limit ${limit}`;
  return rows.map((row) => row.payload);
}
