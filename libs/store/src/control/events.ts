/**
 * What became of events, read from the append-only tables and the queue; never written here.
 *
 * Invariants:
 * 1. An event's verdict is its last non-zero verdict byte over all attempts; while it has none, its batch is in the queue.
 * 2. A replay is a batch of its own that points at the source event: the newest one answers for the event.
 * 3. Work per call is bounded: a page looks at no more than `MAX_BATCHES_PER_PAGE` batches.
 */
import { type BatchId, type EventId, OneDataError, type TenantId, toBatchId } from "@onedata/core";
import type { Sql } from "../connection.ts";
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

/** Why an event is not done: its row in the queue and what that waits for. */
export type EventWait = {
  readonly running: boolean;
  readonly availableAt: Date | undefined;
  readonly attempt: number;
  readonly failures: number;
  readonly suspect: boolean;
  readonly pipelineState: string;
  readonly pipelineReason: string | undefined;
  readonly pipelineStateChangedBy: string | undefined;
  readonly pipelineStateChangedAt: Date | undefined;
  readonly blockedUntil: Date | undefined;
  readonly blockReason: string | undefined;
  /** Batches of its lane that come before it, counted to 10,000. */
  readonly batchesAhead: number;
  readonly enginesAlive: number;
  /** The database's clock. */
  readonly now: Date;
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
  readonly payload: string;
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
};

export async function getEvent(sql: Sql, tenantId: TenantId, id: EventId): Promise<EventRow> {
  const [event] = await sql<EventRecord[]>`
    select e.payload, e.ordering_key, encode(substr(e.trace, 1, 16), 'hex') as trace_id, onedata.time_of(b.id) as captured_at, b.import_id, coalesce(p.name, '') as pipeline
      from onedata.batches b join onedata.events e on e.batch_id = b.id and e.n = ${id.n} left join onedata.pipelines p on p.id = b.pipeline_id
     where b.id = ${id.batchId} and b.tenant_id = ${tenantId}`;
  if (event === undefined) throw new OneDataError("event.not_found", `no event with this id; it may be older than the retention`);
  const replays = await sql<{ batch_id: bigint; n: number }[]>`
    select r.batch_id, r.n from onedata.batch_refs r join onedata.batches b on b.id = r.batch_id and b.kind = 'replay'
     where r.src_batch_id = ${id.batchId} and r.src_n = ${id.n} and b.tenant_id = ${tenantId} order by r.batch_id limit 50`;
  const places = [{ batch_id: id.batchId, n: id.n }, ...replays];
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
  };
}

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
  const wait = settled !== undefined || last === undefined ? undefined : await readWait(sql, tenantId, toBatchId(last.batch_id));
  return { attempts, settled, wait };
}

export type EventSummary = {
  readonly id: EventId;
  readonly capturedAt: Date;
  readonly orderingKey: string | undefined;
  readonly traceId: string | undefined;
  readonly importId: bigint | undefined;
  readonly version: number | undefined;
  readonly attempt: number;
  /** The last non-zero verdict byte; 0 = none yet. */
  readonly verdict: number;
  readonly doneAt: Date | undefined;
  /** Its batch is in the queue, in a run. */
  readonly running: boolean;
  readonly queued: boolean;
};

export type EventState = "waiting" | "running" | "done";

export type EventPage = {
  readonly name: string;
  readonly limit: number;
  /** The last event of the previous page. */
  readonly before: EventId | undefined;
  readonly state: EventState | undefined;
  readonly since: Date | undefined;
  readonly until: Date | undefined;
};

const MAX_BATCHES_PER_PAGE = 2_000;

/** Newest first. `next` is where to go on; a page may be short, even empty, and still have a next one. */
export async function listEvents(sql: Sql, tenantId: TenantId, page: EventPage): Promise<{ events: EventSummary[]; next: EventId | undefined }> {
  const pipeline = await getPipeline(sql, tenantId, page.name);
  const batches = await sql<{ id: bigint; n: number; matches: boolean }[]>`
    select b.id, b.n, ${matchState(sql, page.state)} as matches
      from (select id, n from onedata.batches
             where pipeline_id = ${pipeline.id} and tenant_id = ${tenantId} and kind = 'capture' and id <= ${page.before?.batchId ?? MAX_ID}
               and id >= onedata.id_at(${page.since ?? EARLIEST}) and id < onedata.id_at(${page.until ?? LATEST})
             order by id desc limit ${MAX_BATCHES_PER_PAGE}) b
      left join onedata.queue q on q.batch_id = b.id
     order by b.id desc`;
  const isAfterCursor = ({ id }: EventSummary): boolean => page.before === undefined || id.batchId !== page.before.batchId || id.n < page.before.n;
  const events: EventSummary[] = [];
  const candidates = batches.filter((batch) => batch.matches);
  for (let at = 0; at < candidates.length; ) {
    // As many batches as may fill the page.
    const ids: bigint[] = [];
    for (let room = page.limit + 1 - events.length; room > 0 && at < candidates.length; at++) {
      ids.push(candidates[at]?.id ?? 0n);
      room -= candidates[at]?.n ?? 0;
    }
    for (const event of await readSummaries(sql, tenantId, ids)) {
      if (!isAfterCursor(event) || (page.state !== undefined && stateOf(event) !== page.state)) continue;
      if (events.length === page.limit) return { events, next: events.at(-1)?.id };
      events.push(event);
    }
  }
  const last = batches.at(-1);
  return { events, next: last === undefined || batches.length < MAX_BATCHES_PER_PAGE ? undefined : { batchId: toBatchId(last.id), n: 0 } };
}

/** Whether the batch may hold an event in this state. Its events are looked at singly after that. */
function matchState(sql: Sql, state: EventState | undefined): PendingQuery {
  switch (state) {
    case undefined:
      return sql`true`;
    case "waiting":
      return sql`(q.batch_id is not null and q.run_id is null)`;
    case "running":
      return sql`q.run_id is not null`;
    case "done":
      return sql`(q.batch_id is null or exists (select from onedata.runs r where r.batch_id = b.id))`;
  }
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

/** The events of these batches, newest first, without their payloads. */
export async function readSummaries(sql: Sql, tenantId: TenantId, batchIds: readonly bigint[]): Promise<EventSummary[]> {
  if (batchIds.length === 0) return [];
  const rows = await sql<SummaryRecord[]>`
    select e.batch_id, e.n, e.ordering_key, encode(substr(e.trace, 1, 16), 'hex') as trace_id, onedata.time_of(e.batch_id) as captured_at, b.import_id,
           q.batch_id is not null as queued, q.run_id is not null as running, coalesce(q.attempt, 0) as claims,
           f.version, f.attempt, coalesce(f.verdict, 0) as verdict, f.ended_at
      from onedata.batches b
      join onedata.events e on e.batch_id = b.id
      left join onedata.queue q on q.batch_id = b.id
      left join lateral (
        select r.version, r.attempt, r.ended_at, get_byte(r.verdicts, e.n) as verdict from onedata.runs r
         where r.batch_id = b.id and length(r.verdicts) > e.n order by get_byte(r.verdicts, e.n) = 0, r.attempt desc limit 1) f on true
     where b.id = any(${toArray(batchIds)}::bigint[]) and b.tenant_id = ${tenantId}
     order by e.batch_id desc, e.n desc`;
  return rows.map((row) => ({
    id: { batchId: toBatchId(row.batch_id), n: row.n },
    capturedAt: row.captured_at,
    orderingKey: row.ordering_key ?? undefined,
    traceId: row.trace_id ?? undefined,
    importId: row.import_id ?? undefined,
    version: row.version ?? undefined,
    attempt: Math.max(row.attempt ?? 0, row.claims),
    verdict: row.verdict,
    doneAt: row.verdict === 0 ? undefined : (row.ended_at ?? undefined),
    running: row.running,
    queued: row.queued,
  }));
}

export const stateOf = (event: { verdict: number; queued: boolean; running: boolean }): EventState =>
  event.verdict !== 0 || !event.queued ? "done" : event.running ? "running" : "waiting";

/** Events of these batches that finished after `since`, by the database's clock, oldest first. */
export async function listFinished(
  sql: Sql,
  tenantId: TenantId,
  { batchIds, since }: { batchIds: readonly bigint[]; since: Date },
): Promise<EventSummary[]> {
  const fresh = await sql<{ batch_id: bigint }[]>`
    select distinct r.batch_id from onedata.runs r where r.batch_id = any(${toArray(batchIds)}::bigint[]) and r.ended_at > ${since}`;
  const events = await readSummaries(
    sql,
    tenantId,
    fresh.map((row) => row.batch_id),
  );
  return events.filter((event) => event.doneAt !== undefined && event.doneAt > since).reverse();
}

/** What a tail watches: batches of the pipeline above `above`, with those that wait, newest first; and the database's clock. */
export async function listOpenBatches(
  sql: Sql,
  tenantId: TenantId,
  { name, above, limit }: { name: string; above: bigint; limit: number },
): Promise<{ batchIds: bigint[]; now: Date }> {
  const pipeline = await getPipeline(sql, tenantId, name);
  const rows = await sql<{ id: bigint }[]>`
    (select q.batch_id as id from onedata.queue q join onedata.lanes l on l.id = q.lane_id where l.tenant_id = ${tenantId} and l.pipeline_id = ${pipeline.id} order by q.batch_id limit ${limit})
    union
    (select id from onedata.batches where pipeline_id = ${pipeline.id} and tenant_id = ${tenantId} and id > ${above} order by id desc limit ${limit})`;
  const [clock] = await sql<{ now: Date }[]>`select clock_timestamp() as now`;
  return { batchIds: rows.map((row) => row.id), now: clock?.now ?? new Date(0) };
}

type PendingQuery = ReturnType<Sql>;

const MAX_ID = 9223372036854775807n;
const EARLIEST = new Date(0);
const LATEST = new Date("2200-01-01T00:00:00Z");

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

async function readWait(sql: Sql, tenantId: TenantId, batchId: BatchId): Promise<EventWait | undefined> {
  const [row] = await sql<WaitRecord[]>`
    select q.run_id is not null as running, q.available_at, q.attempt, q.failures, q.suspect, p.state, p.reason, p.state_changed_by, p.state_changed_at,
           l.blocked_until, l.block_reason, clock_timestamp() as now,
           (select count(*)::int from (select 1 from onedata.queue a where a.lane_id = q.lane_id and a.seq < q.seq and a.run_id is null limit 10000) ahead) as ahead,
           (select count(*)::int from onedata.engines where alive_until > clock_timestamp()) as engines
      from onedata.queue q join onedata.lanes l on l.id = q.lane_id left join onedata.pipelines p on p.id = l.pipeline_id
     where q.batch_id = ${batchId} and l.tenant_id = ${tenantId}`;
  if (row === undefined) return undefined;
  return {
    running: row.running,
    availableAt: row.available_at ?? undefined,
    attempt: row.attempt,
    failures: row.failures,
    suspect: row.suspect,
    pipelineState: row.state ?? "deleting",
    pipelineReason: row.reason ?? undefined,
    pipelineStateChangedBy: row.state_changed_by ?? undefined,
    pipelineStateChangedAt: row.state_changed_at ?? undefined,
    blockedUntil: row.blocked_until ?? undefined,
    blockReason: row.block_reason ?? undefined,
    batchesAhead: row.ahead,
    enginesAlive: row.engines,
    now: row.now,
  };
}

type EventRecord = {
  payload: string;
  ordering_key: string | null;
  trace_id: string | null;
  captured_at: Date;
  import_id: bigint | null;
  pipeline: string;
};

type SummaryRecord = {
  batch_id: bigint;
  n: number;
  ordering_key: string | null;
  trace_id: string | null;
  captured_at: Date;
  import_id: bigint | null;
  queued: boolean;
  running: boolean;
  claims: number;
  version: number | null;
  attempt: number | null;
  verdict: number;
  ended_at: Date | null;
};

type WaitRecord = {
  running: boolean;
  available_at: Date | null;
  attempt: number;
  failures: number;
  suspect: boolean;
  state: string | null;
  reason: string | null;
  state_changed_by: string | null;
  state_changed_at: Date | null;
  blocked_until: Date | null;
  block_reason: string | null;
  ahead: number;
  engines: number;
  now: Date;
};
