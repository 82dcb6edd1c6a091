/**
 * How a job's list is made: in bounded steps, each one transaction that moves the job's place together with what it lists.
 *
 * Invariants:
 * 1. Whoever works at a job holds its row. A step that is cut off has done nothing.
 * 2. An open dead letter is taken by one job: lists of one pipeline are made one after another, and what is taken is `replaying` from then on.
 * 3. Tables of events are only looked up by their keys, whatever the planner believes of tables that have no statistics yet (`offset 0`): once it did not, and a step of
 *    100 ms took 43 s.
 * 4. All open letters of an event and generation go together: the event is run again once, for all of its sinks.
 */
import { type PipelineId, type TenantId, toPipelineId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";
import { type DeadLetterFilter, type Fragment, toConditions } from "./dead-letter-filter.ts";
import type { JobState, NewJob } from "./jobs.ts";

export const LETTERS_PER_STEP = 1_000;
const BATCHES_PER_STEP = 50;

export type LockedJob = {
  readonly id: bigint;
  readonly pipelineId: PipelineId;
  readonly kind: NewJob["kind"];
  readonly state: JobState;
  readonly spec: JobSpec;
  readonly version: number | undefined;
  readonly generation: number;
  readonly total: bigint;
  readonly position: bigint;
  readonly listedTo: bigint;
  readonly listUntil: bigint;
};

export type Verdict = "delivered" | "filtered" | "dead";

/** As `jobs.spec` keeps it. */
export type JobSpec = {
  readonly filter?: StoredFilter;
  readonly reason?: string;
  readonly verdict?: Verdict;
};
type StoredFilter = Omit<DeadLetterFilter, "since" | "until" | "ids"> & {
  readonly since?: string;
  readonly until?: string;
  readonly ids?: readonly string[];
};

export const toStoredFilter = ({ since, until, ids, ...filter }: DeadLetterFilter): StoredFilter => ({
  ...filter,
  ...(since === undefined ? {} : { since: since.toISOString() }),
  ...(until === undefined ? {} : { until: until.toISOString() }),
  ...(ids === undefined || ids.length === 0 ? {} : { ids: ids.map(String) }),
});

const fromStoredFilter = ({ since, until, ids, ...filter }: StoredFilter): DeadLetterFilter => ({
  ...filter,
  since: since === undefined ? undefined : new Date(since),
  until: until === undefined ? undefined : new Date(until),
  ids: ids?.map(BigInt) ?? [],
});

/** The job, held until the transaction ends; undefined when it has ended or somebody else works at it. */
export async function lockJob(tx: Transaction, tenantId: TenantId, id: bigint): Promise<LockedJob | undefined> {
  await tx`select set_config('enable_seqscan', 'off', true)`;
  const [row] = await tx<LockedRecord[]>`
    select id, pipeline_id, kind, state, spec::text as spec, version, generation, total, position, listed_to, list_until from onedata.jobs
     where id = ${id} and tenant_id = ${tenantId} and finished_at is null for update skip locked`;
  if (row === undefined) return undefined;
  const spec: JobSpec = JSON.parse(row.spec);
  return {
    id: row.id,
    pipelineId: toPipelineId(row.pipeline_id),
    kind: row.kind,
    state: row.state,
    spec,
    version: row.version ?? undefined,
    generation: row.generation,
    total: row.total,
    position: row.position,
    listedTo: row.listed_to,
    listUntil: row.list_until,
  };
}

/** Makes lists of one pipeline one after another, until the transaction ends. */
export const lockLists = (tx: Transaction, tenantId: TenantId, pipelineId: bigint): Promise<unknown> =>
  tx`select pg_advisory_xact_lock(hashtextextended(${`onedata.job_lists ${tenantId}`}, ${pipelineId}))`;

/** One step of a job that is preparing. Returns whether there was anything to do. */
export async function listSome(sql: Sql, tenantId: TenantId, id: bigint): Promise<boolean> {
  return sql.begin(async (tx) => {
    const job = await lockJob(tx, tenantId, id);
    if (job === undefined || job.state !== "preparing") return false;
    if (job.kind === "backfill") await listEvents(tx, tenantId, job);
    else {
      await lockLists(tx, tenantId, job.pipelineId);
      await (job.kind === "replay" ? listLetters(tx, tenantId, job) : discardLetters(tx, tenantId, job));
    }
    return true;
  });
}

/** The job's next open letters, locked, in the order of their ids. */
async function pickLetters(tx: Transaction, tenantId: TenantId, job: LockedJob): Promise<{ ids: bigint[]; last: bigint; isLast: boolean }> {
  const rows = await tx<{ id: bigint }[]>`
    select d.id from onedata.dead_letters d
     where d.tenant_id = ${tenantId} and d.pipeline_id = ${job.pipelineId} and d.state = 'open' and d.id > ${job.listedTo} and d.id <= ${job.listUntil}
       ${toConditions(tx, tenantId, fromStoredFilter(job.spec.filter ?? {}))}
     order by d.id limit ${LETTERS_PER_STEP} for update`;
  return { ids: rows.map((row) => row.id), last: rows.at(-1)?.id ?? job.listUntil, isLast: rows.length < LETTERS_PER_STEP };
}

async function listLetters(tx: Transaction, tenantId: TenantId, job: LockedJob): Promise<void> {
  const { ids, last, isLast } = await pickLetters(tx, tenantId, job);
  const [listed] = await tx<{ items: number }[]>`
    with picked as materialized (
      select distinct batch_id, n, generation from onedata.dead_letters where tenant_id = ${tenantId} and id = any(${toBigints(ids)}::bigint[])
    ), claimed as (
      update onedata.dead_letters set state = 'replaying', job_id = ${job.id}
       where tenant_id = ${tenantId} and pipeline_id = ${job.pipelineId} and state = 'open' and id = any(array(
         select x.id from picked p cross join lateral (
           select d.id from onedata.dead_letters d
            where d.tenant_id = ${tenantId} and d.batch_id = p.batch_id and d.n = p.n and d.generation = p.generation and d.state = 'open' offset 0) x))
      returning id, batch_id, n, generation
    ), placed as (
      -- A replay of a replay has the first event as its source.
      select c.id, coalesce(r.src_batch_id, c.batch_id) as src_batch_id, coalesce(r.src_n, c.n) as src_n, c.generation
        from claimed c
        left join lateral (select x.src_batch_id, x.src_n from onedata.batch_refs x where x.batch_id = c.batch_id and x.n = c.n offset 0) r on true
    ), item as (
      select src_batch_id, src_n, generation, array_agg(id order by id) as letters from placed group by src_batch_id, src_n, generation
    ), listed as (
      insert into onedata.job_items (job_id, position, src_batch_id, src_n, generation, letters)
      select ${job.id}, ${job.total} + row_number() over (order by src_batch_id, src_n, generation) - 1, src_batch_id, src_n, generation, letters from item
      returning 1
    ) select count(*)::int as items from listed`;
  if (isLast) await sortOrdered(tx, tenantId, job);
  await tx`
    update onedata.jobs
       set total = total + ${listed?.items ?? 0}, claimed = claimed + ${ids.length}, listed_to = ${last}, has_items = true, updated_at = now(),
           state = case when ${isLast} then 'running' else state end,
           skipped = case when ${isLast} then greatest(skipped + matching - claimed - ${ids.length}, 0) else skipped end
     where id = ${job.id} and tenant_id = ${tenantId}`;
}

async function discardLetters(tx: Transaction, tenantId: TenantId, job: LockedJob): Promise<void> {
  const { ids, last, isLast } = await pickLetters(tx, tenantId, job);
  await tx`
    update onedata.dead_letters set state = 'discarded', job_id = ${job.id} where tenant_id = ${tenantId} and id = any(${toBigints(ids)}::bigint[])`;
  await tx`
    update onedata.jobs
       set queued = queued + ${ids.length}, claimed = claimed + ${ids.length}, listed_to = ${last}, updated_at = now(), state = case when ${isLast} then 'done' else state end,
           finished_at = case when ${isLast} then now() end,
           skipped = case when ${isLast} then greatest(matching - claimed - ${ids.length}, 0) else skipped end
     where id = ${job.id} and tenant_id = ${tenantId}`;
}

async function listEvents(tx: Transaction, tenantId: TenantId, job: LockedJob): Promise<void> {
  const [listed] = await tx<{ batches: number; last: bigint | null; items: number }[]>`
    with part as materialized (
      select id, seq from onedata.batches
       where pipeline_id = ${job.pipelineId} and tenant_id = ${tenantId} and kind = 'capture' and id > ${job.listedTo} and id <= ${job.listUntil}
       order by id limit ${BATCHES_PER_STEP}
    ), listed as (
      insert into onedata.job_items (job_id, position, src_batch_id, src_n, generation)
      select ${job.id}, ${job.total} + row_number() over (order by p.seq, e.n) - 1, e.batch_id, e.n, ${job.generation}::int
        from part p cross join lateral (select x.batch_id, x.n from onedata.events x where x.batch_id = p.id offset 0) e ${hasVerdict(tx, tenantId, job.spec.verdict)}
      returning 1
    ) select (select count(*)::int from part) as batches, (select max(id) from part) as last, (select count(*)::int from listed) as items`;
  const isLast = (listed?.batches ?? 0) < BATCHES_PER_STEP;
  if (isLast) await sortOrdered(tx, tenantId, job);
  await tx`
    update onedata.jobs
       set total = total + ${listed?.items ?? 0}, listed_to = ${isLast ? job.listUntil : (listed?.last ?? job.listUntil)}, has_items = true, updated_at = now(),
           state = case when ${isLast} then 'running' else state end
     where id = ${job.id} and tenant_id = ${tenantId}`;
}

/** Where the pipeline orders, the whole list stands in the order of capture: letters of one completion have ids in any order. */
async function sortOrdered(tx: Transaction, tenantId: TenantId, job: LockedJob): Promise<void> {
  await tx`
    with gone as (
      delete from onedata.job_items where job_id = ${job.id}
         and exists (select from onedata.pipelines p where p.id = ${job.pipelineId} and p.tenant_id = ${tenantId} and p.ordering is not null) returning *
    )
    insert into onedata.job_items (job_id, position, src_batch_id, src_n, generation, letters, payload)
    select g.job_id, row_number() over (order by b.seq, g.src_batch_id, g.src_n, g.generation) - 1, g.src_batch_id, g.src_n, g.generation, g.letters, g.payload
      from gone g left join onedata.batches b on b.id = g.src_batch_id and b.tenant_id = ${tenantId}`;
}

/**
 * The last verdict byte of the event `e`, and the place and generation that it was given in: a replay answers for the event, a backfill for itself.
 * Has no row while there is no verdict.
 */
export const lastVerdict = (sql: Sql | Transaction, tenantId: TenantId): Fragment => sql`
  select get_byte(u.verdicts, x.n) as verdict, x.batch_id, x.n, x.generation from (
    select e.batch_id, e.n, 0 as generation, false as is_replay
    union all
    select r.batch_id, r.n, b.generation, true from onedata.batch_refs r join onedata.batches b on b.id = r.batch_id and b.kind = 'replay' and b.tenant_id = ${tenantId}
     where r.src_batch_id = e.batch_id and r.src_n = e.n) x
    cross join lateral (select y.verdicts, y.attempt from onedata.runs y where y.batch_id = x.batch_id offset 0) u
   where length(u.verdicts) > x.n and get_byte(u.verdicts, x.n) <> 0
   order by x.is_replay desc, x.batch_id desc, u.attempt desc limit 1`;

export function hasVerdict(sql: Sql | Transaction, tenantId: TenantId, verdict: Verdict | undefined): Fragment {
  if (verdict === undefined) return sql``;
  const bytes = { delivered: sql`v.verdict = 1`, dead: sql`v.verdict = 2`, filtered: sql`v.verdict >= 16` }[verdict];
  return sql`cross join lateral (${lastVerdict(sql, tenantId)}) v where ${bytes}`;
}

const toBigints = (ids: readonly bigint[]): string => `{${ids.join(",")}}`;

type LockedRecord = {
  id: bigint;
  pipeline_id: bigint;
  kind: NewJob["kind"];
  state: JobState;
  spec: string;
  version: number | null;
  generation: number;
  total: bigint;
  position: bigint;
  listed_to: bigint;
  list_until: bigint;
};
