/**
 * How a job's list is worked off: its next events become batches of the bulk lanes, batches that have left the queue are settled, a cancelled job gives back.
 *
 * Invariants:
 * 1. Batches, queue rows and the job's place move in one transaction under the job's row: an event of the list is handed out exactly once, whoever dies when.
 * 2. No more than `MAX_WAITING` batches of a job are in the queue, and no more events per second than its rate (a second's worth at once).
 * 3. A dead letter is `replayed` when its replay has a verdict, whatever it is (one that died again stands as a new letter), and `open` again when it has none.
 * 4. What died at a sink is not written again to the sinks that have it, also where there is no ledger (`onedata.outputs`, files, HTTP).
 * 5. An event goes with what it was edited to last, up to the moment it is handed out, whichever job edited it; nothing brings back what an edit mended.
 * 6. A job has ended when its list is handed out, its batches are settled, and no letter is `replaying` for it.
 */
import type { TenantId } from "@onedata/core";
import { type Sql, type Transaction, withPartitions } from "../connection.ts";
import { editedPayload } from "./edited-payload.ts";
import { type LockedJob, lockJob, lockLists } from "./job-list.ts";
import { removeWaiting } from "./jobs.ts";

const MAX_WAITING = 50;
const EVENTS_PER_STEP = 1_000;
const SETTLED_PER_STEP = 50;
const MAX_BATCH_EVENTS = 100;
const MAX_BATCH_BYTES = 262_144;

/** One step of a running, cancelled or failed job. Returns whether it moved, so that the next step may come at once. */
export async function workSome(sql: Sql, tenantId: TenantId, id: bigint): Promise<boolean> {
  return withPartitions(sql, () =>
    sql.begin(async (tx) => {
      const job = await lockJob(tx, tenantId, id);
      if (job === undefined || job.state === "preparing") return false;
      const settled = await settleBatches(tx, tenantId, job);
      const moved = job.state === "running" ? await makeBatches(tx, tenantId, job) : await giveBack(tx, tenantId, job);
      if (settled === 0 && moved === 0 && job.position >= job.total) return finish(tx, tenantId, job);
      return settled + moved > 0;
    }),
  );
}

/** How many of the job's batches may be added now, and how many events. */
async function readRoom(tx: Transaction, job: LockedJob): Promise<{ batches: number; events: number; pipelineIsThere: boolean }> {
  const [row] = await tx<{ waiting: number; allowance: number | null; there: boolean }[]>`
    select (select count(*)::int from onedata.queue where job_id = j.id) as waiting,
           case when j.events_per_second > 0 then
             least(greatest(j.events_per_second, 1), j.allowance + j.events_per_second * greatest(extract(epoch from clock_timestamp() - j.allowance_at), 0))::float8 end as allowance,
           exists (select from onedata.pipelines p where p.id = j.pipeline_id and p.tenant_id = j.tenant_id and p.state <> 'deleting') as there
      from onedata.jobs j where j.id = ${job.id}`;
  const allowance = row?.allowance ?? undefined;
  return {
    batches: MAX_WAITING - (row?.waiting ?? 0),
    events: allowance === undefined ? EVENTS_PER_STEP : Math.min(Math.floor(allowance), EVENTS_PER_STEP),
    pipelineIsThere: row?.there ?? false,
  };
}

/** Returns how many items it handed out. */
async function makeBatches(tx: Transaction, tenantId: TenantId, job: LockedJob): Promise<number> {
  if (job.position >= job.total) return 0;
  const room = await readRoom(tx, job);
  if (!room.pipelineIsThere) {
    await tx`update onedata.jobs set state = 'failed', reason = 'the pipeline was deleted', updated_at = now() where id = ${job.id} and tenant_id = ${tenantId}`;
    return 1;
  }
  const most = Math.min(room.events, room.batches * MAX_BATCH_EVENTS);
  if (most <= 0) return 0;
  const upTo = job.position + BigInt(most) < job.total ? job.position + BigInt(most) : job.total;
  // Whoever edits an event holds this too: it sees these batches, or they have its edit.
  await lockLists(tx, tenantId, job.pipelineId);
  // `offset 0` and the order inside draw the numbers of batches in the order of their first events.
  const [made] = await tx<{ queued: number; missing: string | null }[]>`
    with soon as materialized (
      -- Edits of single events that are not handed out yet: theirs is the first item of their job.
      select i.src_batch_id, i.src_n, i.payload from onedata.jobs j join onedata.job_items i on i.job_id = j.id and i.position = 0
       where j.finished_at is null and j.tenant_id = ${tenantId} and j.pipeline_id = ${job.pipelineId} and j.kind = 'replay' and j.state = 'running' and j.position = 0
         and j.id <> ${job.id} and i.payload is not null order by j.id desc
    ), item as materialized (
      select i.position, i.src_batch_id, i.src_n, i.generation, edit.payload as edited, i.letters, e.batch_id is not null as is_there, e.ordering_key, e.trace,
             octet_length(coalesce(edit.payload, e.payload)) as size,
             case when p.ordering is null then 0 else onedata.shard_of(coalesce(e.ordering_key, '')) end as shard
        from onedata.job_items i
        join onedata.pipelines p on p.id = ${job.pipelineId} and p.tenant_id = ${tenantId}
        left join lateral (select x.* from onedata.events x where x.batch_id = i.src_batch_id and x.n = i.src_n offset 0) e on true
        cross join lateral (
          select coalesce(i.payload, (select s.payload from soon s where s.src_batch_id = i.src_batch_id and s.src_n = i.src_n limit 1),
                          (${editedPayload(tx, tenantId, { batchId: tx`i.src_batch_id`, n: tx`i.src_n` })})) as payload) edit
       where i.job_id = ${job.id} and i.position >= ${job.position} and i.position < ${upTo}
    ), placed as materialized (
      select item.*, row_number() over w - 1 as i, sum(size) over w - size as before
        from item where is_there window w as (partition by generation, shard order by position)
    ), part as materialized (
      select placed.*, dense_rank() over (order by generation, shard, i / ${MAX_BATCH_EVENTS}, before / ${MAX_BATCH_BYTES}) as part from placed
    ), grouped as materialized (
      select part, generation, shard, count(*)::int as n, sum(size)::int as bytes, min(position) as first, array_agg(position order by position) as positions
        from part group by part, generation, shard
    ), numbered as materialized (
      select g.*, nextval('onedata.batch_seq') as seq from (select * from grouped order by first offset 0) g
    ), batch as materialized (
      select b.*, l.id as lane_id, ((extract(epoch from clock_timestamp()) * 1000)::bigint << 20) | (b.seq & 1048575) as id
        from numbered b join onedata.lanes l on l.pipeline_id = ${job.pipelineId} and l.class = 'bulk' and l.shard = b.shard
    ), member as materialized (
      select b.id as batch_id, p.position, (row_number() over (partition by b.id order by p.position) - 1)::int as n, p.src_batch_id, p.src_n, p.edited, p.ordering_key, p.trace
        from part p join batch b on b.part = p.part
    ), done as materialized (
      -- Died at sinks alone: it had gone through all steps, and the other sinks have it.
      select i.position, array(select s.sink->>'id' from json_array_elements(v.plan::json->'sinks') s(sink) where s.sink->>'id' <> all(x.refused)) as sinks
        from item i
        cross join lateral (
          select max(d.version) as version, array_agg(d.sink) as refused, bool_and(d.sink is not null) as at_sinks
            from onedata.dead_letters d where d.tenant_id = ${tenantId} and d.id = any(i.letters)) x
        join onedata.pipeline_versions v on v.pipeline_id = ${job.pipelineId} and v.version = x.version
       where i.is_there and i.letters is not null and x.at_sinks
    ), progress as materialized (
      select m.batch_id, jsonb_agg(jsonb_build_object('n', m.n, 'tries', 0, 'sinksDone', coalesce(to_jsonb(d.sinks), '[]')) order by m.n) as progress
        from member m left join done d on d.position = m.position group by m.batch_id having bool_or(cardinality(d.sinks) > 0)
    ), made as (
      insert into onedata.batches (id, seq, tenant_id, pipeline_id, lane_id, kind, generation, job_id, n, bytes)
      select id, seq, ${tenantId}, ${job.pipelineId}, lane_id, ${job.kind}, generation, ${job.id}, n, bytes from batch
    ), referred as (
      insert into onedata.batch_refs (batch_id, n, src_batch_id, src_n) select batch_id, n, src_batch_id, src_n from member
    ), edited as (
      insert into onedata.events (batch_id, n, payload, ordering_key, trace) select batch_id, n, edited, ordering_key, trace from member where edited is not null
    ), known as (
      insert into onedata.job_batches (job_id, batch_id, n, positions) select ${job.id}, id, n, positions from batch
    ), queued as (
      insert into onedata.queue (batch_id, seq, lane_id, n, bytes, generation, kind, version, pinned_version, job_id, progress)
      select b.id, b.seq, b.lane_id, b.n, b.bytes, b.generation, ${job.kind}, ${job.version ?? null}::int, ${job.version ?? null}::int, ${job.id}, p.progress
        from batch b left join progress p on p.batch_id = b.id order by b.seq
    )
    select (select coalesce(sum(n), 0)::int from batch) as queued, (select string_agg(position::text, ',') from item where not is_there) as missing`;
  const queued = made?.queued ?? 0;
  const handedOut = Number(upTo - job.position);
  await reopen(tx, tenantId, job, made?.missing ?? "");
  await tx`
    update onedata.jobs
       set position = ${upTo}, queued = queued + ${queued}, skipped = skipped + ${handedOut - queued}, updated_at = now(),
           allowance = least(greatest(events_per_second, 1), allowance + events_per_second * greatest(extract(epoch from clock_timestamp() - allowance_at), 0)) - ${handedOut},
           allowance_at = clock_timestamp()
     where id = ${job.id} and tenant_id = ${tenantId}`;
  return handedOut;
}

/** Letters of items at these positions (with commas between) are open again: their events are past retention, or the job was cancelled. */
async function reopen(tx: Transaction, tenantId: TenantId, job: LockedJob, positions: string): Promise<void> {
  if (positions === "") return;
  await tx`
    update onedata.dead_letters set state = 'open', job_id = null
     where tenant_id = ${tenantId} and job_id = ${job.id} and state = 'replaying' and id = any(array(
       select unnest(letters) from onedata.job_items where job_id = ${job.id} and position = any(${`{${positions}}`}::bigint[])))`;
}

/** Returns how many batches it settled. */
async function settleBatches(tx: Transaction, tenantId: TenantId, job: LockedJob): Promise<number> {
  const [row] = await tx<{ settled: number; lost: number }[]>`
    with batch as materialized (
      -- A completion deletes the queue row in the statement that writes the verdicts: without the row they are all there.
      select x.batch_id, x.n, x.positions from onedata.job_batches x
       where x.job_id = ${job.id} and x.settled_at is null and not exists (select from onedata.queue q where q.batch_id = x.batch_id)
       order by x.batch_id limit ${SETTLED_PER_STEP}
    ), member as materialized (
      select b.positions[o.n + 1] as position,
             exists (select from onedata.runs u where u.batch_id = b.batch_id and length(u.verdicts) > o.n and get_byte(u.verdicts, o.n) <> 0) as is_final
        from batch b cross join lateral generate_series(0, b.n - 1) o(n)
    ), letter as materialized (
      select unnest(i.letters) as id, m.is_final from member m
       cross join lateral (select x.letters from onedata.job_items x where x.job_id = ${job.id} and x.position = m.position and x.letters is not null offset 0) i
    ), replayed as (
      update onedata.dead_letters set state = 'replayed'
       where id = any(array(select id from letter where is_final)) and tenant_id = ${tenantId} and job_id = ${job.id} and state = 'replaying'
    ), reopened as (
      update onedata.dead_letters set state = 'open', job_id = null
       where id = any(array(select id from letter where not is_final)) and tenant_id = ${tenantId} and job_id = ${job.id} and state = 'replaying'
    ), settled as (
      update onedata.job_batches x set settled_at = clock_timestamp() from batch b where x.job_id = ${job.id} and x.batch_id = b.batch_id returning 1
    ) select (select count(*)::int from settled) as settled, (select count(*)::int from member where not is_final) as lost`;
  const lost = row?.lost ?? 0;
  // Taken out of the queue when the job was cancelled; of a running job, what retention took from under it.
  if (lost > 0)
    await tx`
      update onedata.jobs set queued = queued - ${lost}, skipped = skipped + case when state = 'running' then ${lost} else 0 end where id = ${job.id} and tenant_id = ${tenantId}`;
  return row?.settled ?? 0;
}

/** Of a job that was cancelled or failed: what waits leaves the queue, what was never handed out is given back. Returns how much it found. */
async function giveBack(tx: Transaction, tenantId: TenantId, job: LockedJob): Promise<number> {
  const removed = job.state === "cancelled" ? await removeWaiting(tx, tenantId, job.id) : 0;
  if (job.position >= job.total) return removed;
  const upTo = job.position + BigInt(EVENTS_PER_STEP) < job.total ? job.position + BigInt(EVENTS_PER_STEP) : job.total;
  await tx`
    update onedata.dead_letters set state = 'open', job_id = null
     where tenant_id = ${tenantId} and job_id = ${job.id} and state = 'replaying' and id = any(array(
       select unnest(letters) from onedata.job_items where job_id = ${job.id} and position >= ${job.position} and position < ${upTo}))`;
  await tx`update onedata.jobs set position = ${upTo}, updated_at = now() where id = ${job.id} and tenant_id = ${tenantId}`;
  return removed + Number(upTo - job.position);
}

/** Notes the end when nothing is left. Returns whether it was the end. */
async function finish(tx: Transaction, tenantId: TenantId, job: LockedJob): Promise<boolean> {
  const [open] = await tx`select 1 from onedata.job_batches where job_id = ${job.id} and settled_at is null limit 1`;
  if (open !== undefined) return false;
  // Nothing should be left here; what a hand in the database left must not be stuck.
  await tx`update onedata.dead_letters set state = 'open', job_id = null where tenant_id = ${tenantId} and job_id = ${job.id} and state = 'replaying'`;
  await tx`
    update onedata.jobs set state = case when state = 'running' then 'done' else state end, finished_at = now(), updated_at = now()
     where id = ${job.id} and tenant_id = ${tenantId}`;
  return true;
}
