/**
 * Lists of events: pages, and what a tail watches.
 * Invariant: work per call is bounded: a page looks at no more than `MAX_BATCHES_PER_PAGE` batches.
 */
import { type EventId, type TenantId, toBatchId } from "@onedata/core";
import type { Sql } from "../connection.ts";
import { type EventWait, readWaits } from "./event-wait.ts";
import { getPipeline } from "./pipelines.ts";
import { toArray } from "./sql-array.ts";

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
  /** Given by `listEvents` for what is not done. */
  readonly wait?: EventWait | undefined;
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
/** Counted per batch of a page. */
const MAX_AHEAD_IN_LIST = 1_000;

/** Newest first. `next` is where to go on; a page may be short, even empty, and still have a next one. */
export async function listEvents(sql: Sql, tenantId: TenantId, page: EventPage): Promise<{ events: EventSummary[]; next: EventId | undefined }> {
  const { events, next } = await readPage(sql, tenantId, page);
  const open = new Set(events.filter(({ verdict, queued }) => verdict === 0 && queued).map(({ id }) => id.batchId));
  const waits = await readWaits(sql, tenantId, [...open], MAX_AHEAD_IN_LIST);
  return { events: events.map((event) => (event.verdict === 0 ? { ...event, wait: waits.get(event.id.batchId) } : event)), next };
}

async function readPage(sql: Sql, tenantId: TenantId, page: EventPage): Promise<{ events: EventSummary[]; next: EventId | undefined }> {
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
        select r.version, r.attempt, r.ended_at, get_byte(r.verdicts, x.n) as verdict from (
          select e.batch_id, e.n, false as is_replay
          union all
          -- The newest replay answers for its event.
          select c.batch_id, c.n, true from onedata.batch_refs c join onedata.batches cb on cb.id = c.batch_id and cb.kind = 'replay' and cb.tenant_id = ${tenantId}
           where c.src_batch_id = e.batch_id and c.src_n = e.n) x
          cross join lateral (select y.version, y.attempt, y.ended_at, y.verdicts from onedata.runs y where y.batch_id = x.batch_id offset 0) r
         where length(r.verdicts) > x.n order by get_byte(r.verdicts, x.n) = 0, x.is_replay desc, x.batch_id desc, r.attempt desc limit 1) f on true
     where b.id = any(${toArray(batchIds)}::bigint[]) and b.tenant_id = ${tenantId} and b.kind = 'capture'
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
