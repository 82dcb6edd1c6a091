/** Upkeep that some process does every minute or so. Each call is short, safe at any time and from several processes at once. */
import type { Sql } from "./connection.ts";
import { freeStrandedLanes, giveLanesBack } from "./lane-runs.ts";
import { forgetDeathWindows } from "./self-pause.ts";

const KEY_LIFETIME = "24 hours";
const KEYS_PER_STATEMENT = 5000;
const DEAD_ENGINE_AFTER = "1 hour";

export type Swept = { readonly partitions: number; readonly keys: number; readonly lanes: number; readonly engines: number };

/** Makes partitions ahead, deletes old idempotency keys in small transactions, frees lanes whose run is gone, forgets engines that died long ago. */
export async function sweep(sql: Sql, signal?: AbortSignal): Promise<Swept> {
  const [made] = await sql<{ partitions: number }[]>`select onedata.ensure_partitions(3) as partitions`;
  let keys = 0;
  for (let remainder = 0; remainder < 16; remainder++) {
    for (let deleted = KEYS_PER_STATEMENT; deleted === KEYS_PER_STATEMENT && signal?.aborted !== true; keys += deleted)
      deleted = await deleteKeys(sql, remainder);
  }
  const lanes = await freeStrandedLanes(sql);
  await giveLanesBack(sql);
  const engines = await sql`
    delete from onedata.engines e where e.alive_until < clock_timestamp() - ${DEAD_ENGINE_AFTER}::interval
       and not exists (select from onedata.queue q where q.run_id is not null and q.owner = e.incarnation)`;
  await forgetDeathWindows(sql);
  return { partitions: made?.partitions ?? 0, keys, lanes, engines: engines.count };
}

/** Which partition is ours to name: its number comes from the loop above, never from outside. */
async function deleteKeys(sql: Sql, remainder: number): Promise<number> {
  const table = `onedata.idempotency_keys_${remainder}`;
  const result = await sql.unsafe(
    `delete from ${table} where ctid = any(array(select ctid from ${table} where created_at < now() - interval '${KEY_LIFETIME}' limit ${KEYS_PER_STATEMENT} for update skip locked))`,
  );
  return result.count;
}
