/**
 * Makes a restored platform database fit to run: what held its work is gone, and numbers given out after the point must not come again.
 *
 * - Engines and their runs belong to the past: everything they held is ready again, and it counts as no crash.
 * - A job's generation names effects in the sinks' ledgers. Sinks remember generations that were given out after the point; a new job under one of them would
 *   be taken for done. So every pipeline's counter moves on by a stride that no pipeline uses up in a lifetime.
 * - Ids carry the clock, which does not go back, so none is given out twice. `seq` may repeat: it is order within this database and nothing else.
 * - The installation keeps its id: ledgers then still tell what was delivered after the point, and it is not delivered again.
 */
import { OneDataError } from "@onedata/core";
import { connect, type Sql } from "../connection.ts";

const GENERATION_STRIDE = 10_000;

export type Fenced = { readonly released: number; readonly pipelines: number };

export type FenceOptions = {
  /** Of the restore, for the audit log: label of the copy, time asked for, time reached. */
  readonly detail: Readonly<Record<string, string | null>>;
  /** Pauses every running pipeline, so that nothing is delivered before somebody has looked. */
  readonly paused: boolean;
};

export const fenceRestored = (sql: Sql, { detail, paused }: FenceOptions): Promise<Fenced> =>
  sql.begin(async (transaction) => {
    const released = await transaction`
      update onedata.queue set run_id = null, owner = null, run_deadline = null, state = 'ready', available_at = null,
             version = case when progress is not null then version end
       where run_id is not null`;
    await transaction`update onedata.lanes set run_id = null where run_id is not null`;
    await transaction`delete from onedata.engines`;
    const pipelines = await transaction`update onedata.pipelines set generation = generation + ${GENERATION_STRIDE}`;
    if (paused)
      await transaction`
        update onedata.pipelines set state = 'paused', reason = 'restored from a backup; resume it when you have looked', state_changed_by = 'onedata restore', state_changed_at = now()
         where state = 'running'`;
    await transaction`
      insert into onedata.audit (tenant_id, principal, action, subject, detail)
      select id, 'onedata restore', 'installation.restored', 'installation', ${JSON.stringify(detail)}::text::jsonb from onedata.tenants`;
    return { released: released.count, pipelines: pipelines.count };
  });

/**
 * The same for a database that was brought back by other means: a copy of pg_basebackup, pgBackRest, a provider's point-in-time recovery. OneData must not run on it.
 * Throws `backup.failed` while an engine is alive, or when it holds no OneData.
 */
export async function fenceDatabase(url: string, { paused }: Pick<FenceOptions, "paused">): Promise<Fenced> {
  const sql = connect(url, { max: 1, applicationName: "onedata-restore" });
  try {
    const [found] = await sql<{ there: boolean }[]>`select to_regclass('onedata.engines') is not null as there`;
    if (found?.there !== true) throw new OneDataError("backup.failed", "the database holds no OneData: name the platform's own database");
    const alive = await sql<{ name: string }[]>`select name from onedata.engines where alive_until > clock_timestamp() order by name`;
    const [first] = alive;
    if (first !== undefined)
      throw new OneDataError(
        "backup.failed",
        `${alive.length} engines work on this database, or did until a moment ago (${first.name}): stop all of OneData, wait a minute, try again`,
      );
    return await fenceRestored(sql, { detail: { copy: null, to: null, reached: null }, paused });
  } finally {
    await sql.end({ timeout: 5 });
  }
}
