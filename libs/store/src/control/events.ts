/**
 * What became of events, read from the append-only tables and the queue; never written here.
 *
 * Invariants:
 * 1. An event's verdict is its last non-zero verdict byte over all attempts; while it has none, its batch is in the queue.
 * 2. A replay is a batch of its own that points at the source event: the newest one answers for the event.
 *
 * Lists of events are `event-lists.ts`.
 */
import { type EventId, type TenantId, toBatchId } from "@onedata/core";
import type { Sql } from "../connection.ts";
import { editedPayload } from "./edited-payload.ts";
import { type EventWait, readWaits } from "./event-wait.ts";
import { findOld } from "./find-old.ts";
import { getPipeline } from "./pipelines.ts";
import { toArray } from "./sql-array.ts";

/** One attempt of the event's batch. `verdict` is the event's byte, 0 = not final in this attempt. */
export type EventAttempt = {
  readonly attempt: number;
  readonly version: number | undefined;
  readonly outcome: string;
  readonly startedAt: Date;
  readonly endedAt: Date;
  /** JSON, timings per step. */
  readonly steps: string | undefined;
  readonly verdict: number;
};

export type EventDeadLetter = {
  readonly id: bigint;
  readonly step: string | undefined;
  readonly sink: string | undefined;
  readonly code: string;
  readonly message: string;
};

export type EventRow = {
  readonly id: EventId;
  readonly pipeline: string;
  /** As captured. */
  readonly payload: string;
  /** What it was edited to last, if it was. */
  readonly edited: string | undefined;
  readonly orderingKey: string | undefined;
  /** 32 hex digits. */
  readonly traceId: string | undefined;
  readonly capturedAt: Date;
  readonly importId: bigint | undefined;
  readonly attempts: readonly EventAttempt[];
  readonly deadLetters: readonly EventDeadLetter[];
  /** The byte of its verdict; 0 = none yet. */
  readonly verdict: number;
  readonly doneAt: Date | undefined;
  /** What it waits for; undefined once it is done. */
  readonly wait: EventWait | undefined;
  /** Its ordinal in the batch that waits: a replay's is another one. */
  readonly waitN: number;
};

/** Throws `event.not_found`, or `store.busy` while retention has it out of sight. */
export async function getEvent(sql: Sql, tenantId: TenantId, id: EventId): Promise<EventRow> {
  const event = await findOld(sql, id.batchId, async () => (await readEvent(sql, tenantId, id))[0]);
  const replays = await sql<{ batch_id: bigint; n: number }[]>`
    select r.batch_id, r.n from onedata.batch_refs r join onedata.batches b on b.id = r.batch_id and b.kind = 'replay'
     where r.src_batch_id = ${id.batchId} and r.src_n = ${id.n} and b.tenant_id = ${tenantId} order by r.batch_id desc limit 50`;
  const places = [{ batch_id: id.batchId, n: id.n }, ...replays.reverse()];
  let progress = await readProgress(sql, tenantId, places);
  // A completion may commit between the two reads: then neither the run nor the queue row was seen, and the second look sees the run.
  if (progress.settled === undefined && progress.wait === undefined) progress = await readProgress(sql, tenantId, places);
  const { attempts, settled, wait } = progress;
  const final = wait === undefined ? (settled ?? attempts.findLast((attempt) => attempt.verdict !== 0)) : undefined;
  const deadLetters = await sql<{ id: bigint; step: string | null; sink: string | null; code: string; message: string }[]>`
    select id, step, sink, code, message from onedata.dead_letters
     where tenant_id = ${tenantId} and (batch_id, n) in (select * from unnest(${toArray(places.map((p) => p.batch_id))}::bigint[], ${toArray(places.map((p) => p.n))}::int[]))
     order by id limit 100`;
  return {
    id,
    pipeline: event.pipeline,
    payload: event.payload,
    edited: event.edited ?? undefined,
    orderingKey: event.ordering_key ?? undefined,
    traceId: event.trace_id ?? undefined,
    capturedAt: event.captured_at,
    importId: event.import_id ?? undefined,
    attempts,
    deadLetters: deadLetters.map(({ id: letter, step, sink, code, message }) => ({
      id: letter,
      step: sink === null ? (step ?? undefined) : undefined,
      sink: sink ?? undefined,
      code,
      message,
    })),
    verdict: final?.verdict ?? 0,
    doneAt: final?.endedAt,
    wait,
    waitN: places.at(-1)?.n ?? id.n,
  };
}

const readEvent = (sql: Sql, tenantId: TenantId, id: EventId) => sql<EventRecord[]>`
  select e.payload, (${editedPayload(sql, tenantId, { batchId: sql`e.batch_id`, n: sql`e.n` })}) as edited, e.ordering_key, encode(substr(e.trace, 1, 16), 'hex') as trace_id, onedata.time_of(b.id) as captured_at, b.import_id, coalesce(p.name, '') as pipeline
    from onedata.batches b join onedata.events e on e.batch_id = b.id and e.n = ${id.n} left join onedata.pipelines p on p.id = b.pipeline_id
   where b.id = ${id.batchId} and b.tenant_id = ${tenantId} and b.kind = 'capture'`;

type Place = { readonly batch_id: bigint; readonly n: number };

/** Attempts over the event and its replays; what the last of them came to, or what it waits for. */
async function readProgress(
  sql: Sql,
  tenantId: TenantId,
  places: readonly Place[],
): Promise<{ attempts: EventAttempt[]; settled: EventAttempt | undefined; wait: EventWait | undefined }> {
  const attempts: EventAttempt[] = [];
  let latest: EventAttempt[] = [];
  for (const place of places) {
    latest = await listAttempts(sql, tenantId, { batchId: toBatchId(place.batch_id), n: place.n });
    attempts.push(...latest);
  }
  const last = places.at(-1);
  // Its batch may be in the queue again for the sake of others.
  const settled = latest.findLast((attempt) => attempt.verdict !== 0);
  const wait = settled !== undefined || last === undefined ? undefined : (await readWaits(sql, tenantId, [last.batch_id])).get(last.batch_id);
  return { attempts, settled, wait };
}

/** The payloads captured last, newest first, at most 1 MiB together. */
export async function readLastPayloads(sql: Sql, tenantId: TenantId, name: string, limit: number): Promise<string[]> {
  const pipeline = await getPipeline(sql, tenantId, name);
  const rows = await sql<{ payload: string }[]>`
    with last as (select id from onedata.batches where pipeline_id = ${pipeline.id} and tenant_id = ${tenantId} and kind = 'capture' order by id desc limit ${limit}),
    event as (select e.payload, sum(octet_length(e.payload)) over (order by e.batch_id desc, e.n desc) as bytes, e.batch_id, e.n from last join onedata.events e on e.batch_id = last.id)
    select payload from event where bytes <= 1048576 order by batch_id desc, n desc limit ${limit}`;
  return rows.map((row) => row.payload);
}

async function listAttempts(sql: Sql, tenantId: TenantId, id: EventId): Promise<EventAttempt[]> {
  const rows = await sql<
    { attempt: number; version: number | null; outcome: string; started_at: Date; ended_at: Date; steps: string | null; verdict: number | null }[]
  >`
    select r.attempt, r.version, r.outcome, r.started_at, r.ended_at, r.steps::text as steps,
           case when length(r.verdicts) > ${id.n} then get_byte(r.verdicts, ${id.n}) end as verdict
      from onedata.batches b join onedata.runs r on r.batch_id = b.id
     where b.id = ${id.batchId} and b.tenant_id = ${tenantId} order by r.attempt limit 200`;
  return rows.map((row) => ({
    attempt: row.attempt,
    version: row.version ?? undefined,
    outcome: row.outcome,
    startedAt: row.started_at,
    endedAt: row.ended_at,
    steps: row.steps ?? undefined,
    verdict: row.verdict ?? 0,
  }));
}

type EventRecord = {
  payload: string;
  edited: string | null;
  ordering_key: string | null;
  trace_id: string | null;
  captured_at: Date;
  import_id: bigint | null;
  pipeline: string;
};
