/**
 * Drops whole days of batches, events, batch_refs, runs and outputs.
 *
 * What is still needed of them (`held-rows.ts`) lives in ONE more partition per table, from the smallest id up to the oldest living day. Each drop takes that
 * partition and the old days out, and puts it in again with what is needed of both (a new one, when little of it is); so nothing has to be released by hand, the
 * number of partitions does not grow with the age of a backlog, every statement of the hot path stays as it is, and a batch that waited for weeks finds a partition for its run
 * and its outputs. (Considered: one small partition per old day, which makes every plan longer by five tables a day; a table beside the partitions, which
 * every read would have to ask too, and which leaves completions of old batches nowhere to write; a default partition, with which nothing can be detached
 * concurrently.)
 *
 * Invariants:
 * 1. Nothing here takes a lock that a capture, a claim or a completion waits for (`partitions.ts`).
 * 2. `runs` goes first and comes back last, with the others in one commit: in between, no old event can be completed or discarded, so nothing is ever decided
 *    on rows that cannot be seen. An engine that claims such a batch loads no events and gives it back. Replays that point at old events are put off
 *    beforehand, since their own runs are elsewhere.
 * 3. The rows are copied after the old tables are out and every transaction that could write them has ended: what is copied is all there is.
 * 4. A crash at any point leaves a row in `retention_work` with the tables' names; whoever comes next goes on. Until the copy is committed nothing is dropped.
 *    Several processes may be at it: every step is one statement that only one of them gets through, and the copy is made behind a lock on that row.
 * 5. Jobs that read old events to run them again rest while rows are out of sight (`onedata.old_rows_are_moving`).
 * 6. While rows are needed, the drop waits for a moment without old transactions on these tables, so that they are out of sight for milliseconds only.
 */
import { type Sql, type Store, sqlStateOf } from "../connection.ts";
import { type Held, type Holding, holdNeeded, type Victims } from "./held-rows.ts";
import { detach, type EventTable, eventTables, isLockTimeout, listPartitions, quote, withLockTimeout } from "./partitions.ts";

export type DropOptions = {
  /** Days that end at or before it go. */
  readonly cutoff: Date;
  readonly lockTimeoutMs?: number;
};

export type Dropped = {
  /** `waiting`: somebody's transaction is in the way; call again soon. */
  readonly state: "nothing" | "waiting" | "done";
  readonly tables: readonly string[];
  readonly held: Held;
};

const NOTHING_HELD: Held = { runs: 0, outputs: 0, batch_refs: 0, events: 0, batches: 0 };
const DEFAULT_LOCK_TIMEOUT_MS = 2_000;
/** A transaction that is older is not waited for with rows out of sight. */
const OLD_TRANSACTION = "1 second";
const PUT_OFF = "1 minute";

/** Safe at any time and from several processes; each call is short but for the copy of what is needed. */
export const dropDays = (store: Pick<Store, "sql" | "url">, { lockTimeoutMs = DEFAULT_LOCK_TIMEOUT_MS, ...options }: DropOptions): Promise<Dropped> =>
  withLockTimeout(store, lockTimeoutMs, (sql) => dropDaysOn(sql, options));

/** On a client with a lock timeout. */
export async function dropDaysOn(sql: Sql, { cutoff }: Pick<DropOptions, "cutoff">): Promise<Dropped> {
  const work = (await findWork(sql)) ?? (await beginWork(sql, cutoff));
  return typeof work === "string" ? { state: work, tables: [], held: NOTHING_HELD } : continueWork(sql, work);
}

type Work = { readonly upper: bigint; readonly cutoff: Date; readonly victims: Victims; readonly state: "detaching" | "dropping" };

async function findWork(sql: Sql): Promise<Work | undefined> {
  const [row] = await sql<{ upper: bigint; cutoff: Date; state: Work["state"]; victims: { [table: string]: string[] } }[]>`
    select upper, cutoff, state, victims from onedata.retention_work where kind = 'events'`;
  if (row === undefined) return undefined;
  const of = (table: string): readonly string[] => row.victims[table] ?? [];
  const victims = { runs: of("runs"), outputs: of("outputs"), batch_refs: of("batch_refs"), events: of("events"), batches: of("batches") };
  return { upper: row.upper, cutoff: row.cutoff, state: row.state, victims };
}

async function beginWork(sql: Sql, cutoff: Date): Promise<Work | "nothing" | "waiting"> {
  const [bound] = await sql<{ id: bigint }[]>`select onedata.id_at(${cutoff}) as id`;
  const old = (await listPartitions(sql, eventTables)).filter(({ upper }) => upper <= (bound?.id ?? 0n));
  const upper = old.filter(({ lower }) => lower !== undefined).at(-1)?.upper;
  if (upper === undefined) return "nothing";
  if (!(await isCalm(sql, upper))) return "waiting";
  const of = (parent: string): string[] => old.filter((partition) => partition.parent === parent).map(({ table }) => table);
  const victims = { runs: of("runs"), outputs: of("outputs"), batch_refs: of("batch_refs"), events: of("events"), batches: of("batches") };
  await sql`
    insert into onedata.retention_work (kind, upper, cutoff, victims) values ('events', ${upper}, ${cutoff}, ${JSON.stringify(victims)}::text::jsonb)
    on conflict (kind) do nothing`;
  // Jobs that were at it when the row came are given until the next call; new steps see the row and wait.
  const [job] = await sql`select 1 from onedata.jobs where finished_at is null and kind in ('replay', 'backfill') limit 1`;
  return job === undefined ? { upper, cutoff, victims, state: "detaching" } : "waiting";
}

/** Whether nothing old is needed, or no old transaction would keep it out of sight for long. */
async function isCalm(sql: Sql, upper: bigint): Promise<boolean> {
  const [row] = await sql<{ calm: boolean }[]>`
    select not (exists (select from onedata.queue where batch_id < ${upper})
             or exists (select from onedata.jobs j join onedata.job_items i on i.job_id = j.id where j.state in ('preparing', 'running') and i.src_batch_id < ${upper})
             or exists (select from onedata.dead_letters where state in ('open', 'replaying') and batch_id < ${upper}))
        or not exists (select from pg_locks l join pg_stat_activity a on a.pid = l.pid
                        where l.relation in (select to_regclass('onedata.' || t) from unnest(${`{${eventTables.join(",")}}`}::text[]) t)
                          and l.pid <> pg_backend_pid() and a.xact_start < clock_timestamp() - ${OLD_TRANSACTION}::interval) as calm`;
  return row?.calm === true;
}

async function continueWork(sql: Sql, work: Work): Promise<Dropped> {
  let tables = eventTables.flatMap((parent) => work.victims[parent]);
  let held = NOTHING_HELD;
  try {
    if (work.state === "detaching") {
      if (!(await putOffReplays(sql, work.upper))) return { state: "waiting", tables, held };
      for (const parent of eventTables) {
        for (const table of work.victims[parent]) {
          if ((await detach(sql, parent, table)) === "waiting") return { state: "waiting", tables, held };
        }
      }
      const swapped = await swapIn(sql, work);
      if (swapped === undefined) return { state: "waiting", tables, held };
      held = swapped.held;
      tables = tables.filter((table) => !swapped.kept.includes(table));
    }
    for (const table of tables) await sql.unsafe(`drop table if exists onedata.${quote(table)}`);
  } catch (error) {
    if (isLockTimeout(error)) return { state: "waiting", tables, held };
    await sql`update onedata.retention_work set problem = ${describe(error)} where kind = 'events'`.catch(() => undefined);
    throw error;
  }
  await sql`delete from onedata.retention_work where kind = 'events' and upper = ${work.upper} and state = 'dropping'`;
  return { state: "done", tables, held };
}

const describe = (error: unknown): string =>
  `${sqlStateOf(error) ?? ""} ${error instanceof Error ? error.message : String(error)}`.trim().slice(0, 1000);

/** False while a run holds one of them. */
async function putOffReplays(sql: Sql, upper: bigint): Promise<boolean> {
  const [row] = await sql<{ leased: number }[]>`
    with replays as (
      select q.batch_id, q.run_id from onedata.queue q where q.kind <> 'capture'
         and exists (select from onedata.batch_refs r where r.batch_id = q.batch_id and r.src_batch_id < ${upper})
    ), put_off as (
      update onedata.queue q set available_at = greatest(q.available_at, clock_timestamp() + ${PUT_OFF}::interval)
        from replays r where q.batch_id = r.batch_id and q.run_id is null
    ) select count(*) filter (where run_id is not null)::int as leased from replays`;
  return row?.leased === 0;
}

/** In one commit. `undefined`: another process is at it, or has done it. */
function swapIn(sql: Sql, { victims, upper, cutoff }: Work): Promise<Holding | undefined> {
  return sql.begin(async (tx): Promise<Holding | undefined> => {
    const [work] = await tx`select 1 from onedata.retention_work where kind = 'events' and upper = ${upper} and state = 'detaching' for update`;
    const attached = (await listPartitions(tx, eventTables)).some((partition) => partition.upper <= upper);
    if (work === undefined || attached) return undefined;
    const holding = await holdNeeded(tx, { victims, upper, cutoff, suffix: upper.toString(36) });
    const without = (parent: EventTable): string[] => victims[parent].filter((table) => !holding.kept.includes(table));
    const left = Object.fromEntries(eventTables.map((parent) => [parent, without(parent)]));
    await tx`update onedata.retention_work set state = 'dropping', victims = ${JSON.stringify(left)}::text::jsonb where kind = 'events'`;
    return holding;
  });
}
