/** For tests: makes what was captured look older, so that real clocks do for days. Non-duty: production code never imports this. */
import { type BatchId, formatEventId, parseEventId, toBatchId } from "@onedata/core";
import type { Sql } from "../connection.ts";

const DAY_MS = 86_400_000;

/** Moves everything that belongs to a batch by whole days into the past, making the days' partitions; returns its new id. */
export async function ageBatch(sql: Sql, batchId: BatchId, days: number): Promise<BatchId> {
  const moved = batchId - (BigInt(days * DAY_MS) << 20n);
  await makeDay(sql, moved);
  await sql`update onedata.batches set id = ${moved} where id = ${batchId}`;
  await sql`update onedata.events set batch_id = ${moved} where batch_id = ${batchId}`;
  await sql`update onedata.outputs set batch_id = ${moved} where batch_id = ${batchId}`;
  await sql`update onedata.runs set batch_id = ${moved}, started_at = started_at - make_interval(days => ${days}), ended_at = ended_at - make_interval(days => ${days}) where batch_id = ${batchId}`;
  await sql`update onedata.batch_refs set batch_id = ${moved} where batch_id = ${batchId}`;
  await sql`update onedata.batch_refs set src_batch_id = ${moved} where src_batch_id = ${batchId}`;
  await sql`update onedata.queue set batch_id = ${moved} where batch_id = ${batchId}`;
  await sql`update onedata.dead_letters set batch_id = ${moved} where batch_id = ${batchId}`;
  await sql`update onedata.idempotency_keys set batch_id = ${moved}, created_at = created_at - make_interval(days => ${days}) where batch_id = ${batchId}`;
  return toBatchId(moved);
}

/** The whole batch of an event, by its public id. */
export async function ageEvent(sql: Sql, event: string, days: number): Promise<string> {
  const { batchId, n } = parseEventId(event);
  return formatEventId({ batchId: await ageBatch(sql, batchId, days), n });
}

async function makeDay(sql: Sql, id: bigint): Promise<void> {
  await sql`
    select onedata.make_partition(t, to_char(d.day, 'YYYYMMDD'), case t when 'batches' then 'id' else 'batch_id' end,
             onedata.id_at(d.day at time zone 'UTC'), onedata.id_at((d.day + interval '1 day') at time zone 'UTC'))
      from unnest(array['batches', 'events', 'batch_refs', 'runs', 'outputs']) t, (select date_trunc('day', onedata.time_of(${id}) at time zone 'UTC') as day) d`;
}

export const daysAgo = (days: number, now = Date.now()): Date => new Date(now - days * DAY_MS);
