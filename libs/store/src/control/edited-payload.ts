/** What an event was edited to last: whoever runs it again, or tries what would become of it, takes that instead of what was captured. */
import type { TenantId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";
import type { Fragment } from "./dead-letter-filter.ts";

/**
 * The newest payload that the event at `batchId`, `n` (expressions over the query around it) was edited to; has no row if there is none. An edit that was cancelled
 * before it ran is none; one that still waits is.
 */
export const editedPayload = (
  sql: Sql | Transaction,
  tenantId: TenantId,
  { batchId, n }: { readonly batchId: Fragment; readonly n: Fragment },
): Fragment => sql`
  select edit.payload
    from onedata.batch_refs ref
    join onedata.batches replay on replay.id = ref.batch_id and replay.tenant_id = ${tenantId}
    join onedata.events edit on edit.batch_id = ref.batch_id and edit.n = ref.n
   where ref.src_batch_id = ${batchId} and ref.src_n = ${n}
     and (exists (select from onedata.queue q where q.batch_id = ref.batch_id)
       or exists (select from onedata.runs u where u.batch_id = ref.batch_id and length(u.verdicts) > ref.n and get_byte(u.verdicts, ref.n) <> 0))
   order by replay.seq desc limit 1`;
