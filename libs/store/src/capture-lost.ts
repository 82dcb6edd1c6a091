/**
 * A COMMIT whose answer was lost: end that backend, wait until it is gone, look its batches up by nonce.
 * Until the backend is gone it could still commit; afterwards what is not there will never be.
 * Asked on connections of the hot path: they fail where the server has fallen silent, as the lost one did.
 */
import { type BatchId, toBatchId } from "@onedata/core";
import type { PackedBatch } from "./capture-batches.ts";
import type { Store } from "./connection.ts";

/** Batch ids in the order of the batches written, `undefined` for refused ones; `kept` lists `batch:n` of events that were written, where keys were used. */
export type LostCommit = { readonly ids: readonly (BatchId | undefined)[]; readonly kept: ReadonlySet<string> | undefined };

const PATIENCE_MS = 8_000;

/** `absent`: proven not committed, so writing it again is safe. `unknown`: the database did not come back in time. */
export async function findLostCommit(
  store: Store,
  applicationName: string,
  nonce: string,
  batches: readonly PackedBatch[],
): Promise<LostCommit | "absent" | "unknown"> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  while (performance.now() < giveUpAt) {
    try {
      const ended =
        await store.lease`select pg_terminate_backend(pid, 2000) as gone from pg_stat_activity where application_name = ${applicationName}`;
      if (!ended.every((row) => row["gone"] === true)) continue;
      const rows = await store.lease<{ id: bigint; pipeline_id: bigint; n: number }[]>`
        select id, pipeline_id, n from onedata.batches
         where nonce = ${nonce} and id >= onedata.id_at(clock_timestamp() - interval '10 minutes') order by seq`;
      if (rows.length === 0) return "absent";
      const kept = batches.some((batch) => batch.events.some((event) => event.idempotencyKey !== undefined))
        ? new Set(
            (
              await store.lease<
                { batch_id: bigint; n: number }[]
              >`select batch_id, n from onedata.events where batch_id in ${store.lease(rows.map((row) => row.id))}`
            ).map((row) => `${row.batch_id}:${row.n}`),
          )
        : undefined;
      return { ids: match(batches, rows), kept };
    } catch {
      await new Promise((wake) => setTimeout(wake, 100)); // the database is restarting
    }
  }
  return "unknown";
}

/** Rows come in the order of the batches; refused batches have none. */
function match(batches: readonly PackedBatch[], rows: readonly { id: bigint; pipeline_id: bigint; n: number }[]): (BatchId | undefined)[] {
  let at = 0;
  return batches.map((batch, g) => {
    const row = rows[at];
    const left = rows.length - at;
    if (row === undefined || (left < batches.length - g && (row.pipeline_id !== batch.target.pipelineId || row.n > batch.events.length)))
      return undefined;
    at += 1;
    return toBatchId(row.id);
  });
}
