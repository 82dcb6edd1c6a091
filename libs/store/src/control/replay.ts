/**
 * Starts jobs over dead letters and single events. The list of a job over letters is made by `job-list.ts`, in steps; here it is only bounded: letters that
 * come later are not on it.
 *
 * Invariants: a replay of what is dead keeps its generation, so sinks that have it already write nothing (`duplicate`); a replay of what was delivered or
 * filtered is a delivery of its own.
 */
import { createHash } from "node:crypto";
import { type EventId, formatEventId, formatId, OneDataError, type TenantId } from "@onedata/core";
import type { Sql, Transaction } from "../connection.ts";
import { type Actor, recordChange } from "./audit.ts";
import {
  countMatching,
  type DeadLetterFilter,
  type Fragment,
  type LettersOwner,
  type Matching,
  resolveOwner,
  resolvePipeline,
} from "./dead-letter-filter.ts";
import { findOld } from "./find-old.ts";
import { lastVerdict, lockLists, toStoredFilter } from "./job-list.ts";
import { getJob, insertJob, type JobRow, nextGeneration } from "./jobs.ts";
import { getPipeline, type PipelineRow } from "./pipelines.ts";

export type ReplayOptions = {
  readonly filter: DeadLetterFilter;
  /** 0 = the active one when each event runs. */
  readonly version: number;
  readonly eventsPerSecond: number;
  readonly reason: string;
  readonly dryRun: boolean;
};

export type DiscardLettersOptions = Pick<ReplayOptions, "filter" | "reason" | "dryRun">;

/** A dry run answers what would be started now: a job without an id (0). */
export async function startReplay(sql: Sql, tenantId: TenantId, actor: Actor, options: ReplayOptions): Promise<JobRow> {
  return sql.begin(async (tx) => {
    const { filter, version, eventsPerSecond, reason } = options;
    const { owner: pipeline, matching, listUntil } = await openList(tx, tenantId, filter, resolvePipeline);
    requireStanding(pipeline);
    await requireVersion(tx, tenantId, pipeline, version);
    const description = `replay ${plural(matching.open + matching.taken, "dead letter")} of ${pipeline.name}${describeFilter(filter)}${version === 0 ? "" : ` with version ${version}`}`;
    const draft = { kind: "replay", description, version, eventsPerSecond, total: matching.events } as const;
    if (options.dryRun) return toDryRun(draft, pipeline, actor, matching.taken);
    const id = await insertJob(tx, tenantId, actor, {
      ...draft,
      pipelineId: pipeline.id,
      state: "preparing",
      spec: { filter: toStoredFilter(filter), reason },
      generation: 0,
      listUntil,
      matching: matching.open + matching.taken,
      total: 0,
    });
    await recordJob(tx, tenantId, actor, { action: "ReplayDeadLetters", id, detail: { description, reason, version } });
    return getJob(tx, tenantId, id);
  });
}

export async function startDiscard(sql: Sql, tenantId: TenantId, actor: Actor, { filter, reason, dryRun }: DiscardLettersOptions): Promise<JobRow> {
  return sql.begin(async (tx) => {
    const { owner, matching, listUntil } = await openList(tx, tenantId, filter, resolveOwner);
    const description = `discard ${plural(matching.open + matching.taken, "dead letter")} of ${owner.name ?? "a removed pipeline"}${describeFilter(filter)}: ${reason}`;
    const draft = { kind: "discard", description, version: 0, eventsPerSecond: 0, total: matching.open } as const;
    if (dryRun) return toDryRun(draft, { name: owner.name ?? "" }, actor, matching.taken);
    const id = await insertJob(tx, tenantId, actor, {
      ...draft,
      kind: "discard_letters",
      pipelineId: owner.id,
      state: "preparing",
      spec: { filter: toStoredFilter(filter), reason },
      generation: 0,
      listUntil,
      matching: matching.open + matching.taken,
    });
    await recordJob(tx, tenantId, actor, { action: "DiscardDeadLetters", id, detail: { description, reason } });
    return getJob(tx, tenantId, id);
  });
}

export type EventReplay = {
  readonly event: EventId;
  /** Checked JSON text instead of the captured one. */
  readonly payload: string | undefined;
  readonly version: number;
  readonly reason: string;
};

/**
 * Without a payload it runs with what it was edited to last. Throws `event.not_found`, `event.not_done` while it waits or runs, `event.conflict` while another job
 * replays it, or backfills it and has another payload.
 */
export async function startEventReplay(
  sql: Sql,
  tenantId: TenantId,
  actor: Actor,
  { event, payload, version, reason }: EventReplay,
): Promise<JobRow> {
  return sql.begin(async (tx) => {
    const pipeline = await getPipeline(tx, tenantId, await pipelineOfEvent(tx, tenantId, event));
    requireStanding(pipeline);
    await requireVersion(tx, tenantId, pipeline, version);
    await lockLists(tx, tenantId, pipeline.id);
    const last = await readLast(tx, tenantId, event);
    if (payload !== undefined) await refuseWhileBackfilled(tx, tenantId, event);
    const isDead = last.verdict === 2;
    const generation = isDead ? last.generation : await nextGeneration(tx, tenantId, pipeline.id);
    const name = formatEventId(event);
    const description = `replay ${isDead ? "the dead" : "the"} event ${name}${payload === undefined ? "" : " with another payload"}${version === 0 ? "" : ` with version ${version}`}`;
    const id = await insertJob(tx, tenantId, actor, {
      kind: "replay",
      pipelineId: pipeline.id,
      state: "running",
      description,
      spec: { reason },
      version,
      generation,
      eventsPerSecond: 0,
      total: 1,
      hasItems: true,
    });
    const letters = isDead ? await claimLetters(tx, tenantId, { id, event, generation }) : [];
    await tx`
      insert into onedata.job_items (job_id, position, src_batch_id, src_n, generation, letters, payload)
      values (${id}, 0, ${event.batchId}, ${event.n}, ${generation}, ${letters.length === 0 ? null : `{${letters.join(",")}}`}::bigint[], ${payload ?? null})`;
    const edit =
      payload === undefined ? {} : { payloadBytes: Buffer.byteLength(payload), payloadSha256: createHash("sha256").update(payload).digest("hex") };
    await recordJob(tx, tenantId, actor, {
      action: "ReplayEvent",
      id,
      detail: { event: name, edited: payload !== undefined, reason, version, ...edit },
    });
    return getJob(tx, tenantId, id);
  });
}

async function pipelineOfEvent(tx: Transaction, tenantId: TenantId, event: EventId): Promise<string> {
  const read = () => tx<{ name: string | null }[]>`
    select p.name from onedata.batches b join onedata.events e on e.batch_id = b.id and e.n = ${event.n} left join onedata.pipelines p on p.id = b.pipeline_id
     where b.id = ${event.batchId} and b.tenant_id = ${tenantId} and b.kind = 'capture'`;
  const row = await findOld(tx, event.batchId, async () => (await read())[0]);
  if (row.name === null) throw new OneDataError("pipeline.not_found", "the event's pipeline was deleted");
  return row.name;
}

/** What the event, or its last replay, came to. */
async function readLast(tx: Transaction, tenantId: TenantId, { batchId, n }: EventId): Promise<{ verdict: number; generation: number }> {
  const [last] = await tx<{ verdict: number; generation: number; waits: boolean }[]>`
    select v.verdict, v.generation, ${isQueued(tx, tenantId, "replay")} as waits
      from onedata.events e cross join lateral (${lastVerdict(tx, tenantId)}) v where e.batch_id = ${batchId} and e.n = ${n}`;
  if (last === undefined)
    throw new OneDataError("event.not_done", `event ${formatEventId({ batchId, n })} has no verdict yet; it can be replayed when it has`);
  if (last.waits) throw new OneDataError("event.conflict", `a replay of event ${formatEventId({ batchId, n })} is under way already`);
  return { verdict: last.verdict, generation: last.generation };
}

/** What a backfill has taken already has the payload of before, and could write it after the edit. */
async function refuseWhileBackfilled(tx: Transaction, tenantId: TenantId, { batchId, n }: EventId): Promise<void> {
  const [row] = await tx<{ waits: boolean }[]>`
    select ${isQueued(tx, tenantId, "backfill")} as waits from onedata.events e where e.batch_id = ${batchId} and e.n = ${n}`;
  if (row?.waits === true)
    throw new OneDataError(
      "event.conflict",
      `a backfill of event ${formatEventId({ batchId, n })} is under way with the payload of before; edit it when that has run (onedata events ${formatEventId({ batchId, n })})`,
    );
}

/** Whether a batch of that kind that refers to the event `e` waits or runs. */
const isQueued = (tx: Transaction, tenantId: TenantId, kind: "replay" | "backfill"): Fragment => tx`
  exists (select from onedata.batch_refs r join onedata.batches b on b.id = r.batch_id and b.tenant_id = ${tenantId} and b.kind = ${kind}
            join onedata.queue q on q.batch_id = r.batch_id where r.src_batch_id = e.batch_id and r.src_n = e.n)`;

/** All letters of the event and generation that are open, wherever it died, or discarded: whoever replays it takes that back. */
async function claimLetters(
  tx: Transaction,
  tenantId: TenantId,
  { id, event, generation }: { readonly id: bigint; readonly event: EventId; readonly generation: number },
): Promise<bigint[]> {
  const places = tx`
    select ${event.batchId}::bigint as batch_id, ${event.n}::int as n
    union all select r.batch_id, r.n from onedata.batch_refs r where r.src_batch_id = ${event.batchId} and r.src_n = ${event.n}`;
  const [taken] = await tx<{ job_id: bigint }[]>`
    select job_id from onedata.dead_letters where tenant_id = ${tenantId} and generation = ${generation} and state = 'replaying' and (batch_id, n) in (${places}) limit 1`;
  if (taken !== undefined) throw new OneDataError("event.conflict", `${formatId("job", taken.job_id)} replays event ${formatEventId(event)} already`);
  const rows = await tx<{ id: bigint }[]>`
    update onedata.dead_letters set state = 'replaying', job_id = ${id}
     where tenant_id = ${tenantId} and generation = ${generation} and state in ('open', 'discarded') and (batch_id, n) in (${places}) returning id`;
  return rows.map((row) => row.id);
}

async function openList<O extends LettersOwner>(
  tx: Transaction,
  tenantId: TenantId,
  filter: DeadLetterFilter,
  resolve: (tx: Transaction, tenantId: TenantId, filter: DeadLetterFilter) => Promise<O>,
): Promise<{ owner: O; matching: Matching; listUntil: bigint }> {
  const owner = await resolve(tx, tenantId, filter);
  const [clock] = await tx<{ id: bigint }[]>`select onedata.next_id() as id`;
  const listUntil = clock?.id ?? 0n;
  return { owner, listUntil, matching: await countMatching(tx, tenantId, { pipelineId: owner.id, filter, upTo: listUntil }) };
}

export function requireStanding({ name, state }: PipelineRow): void {
  if (state === "deleting")
    throw new OneDataError("pipeline.conflict", `pipeline ${JSON.stringify(name)} is being deleted; nothing of it can be run again`);
}

export async function requireVersion(tx: Transaction, tenantId: TenantId, pipeline: PipelineRow, version: number): Promise<void> {
  if (version === 0) return;
  const [known] = await tx`
    select 1 from onedata.pipeline_versions v join onedata.pipelines p on p.id = v.pipeline_id
     where p.tenant_id = ${tenantId} and v.pipeline_id = ${pipeline.id} and v.version = ${version}::bigint`;
  if (known === undefined) throw new OneDataError("version.not_found", `pipeline ${JSON.stringify(pipeline.name)} has no version ${version}`);
}

export const recordJob = (
  tx: Transaction,
  tenantId: TenantId,
  actor: Actor,
  { action, id, detail }: { readonly action: string; readonly id: bigint; readonly detail: Readonly<Record<string, string | number | boolean>> },
): Promise<void> => recordChange(tx, tenantId, actor, { action, subject: `jobs/${formatId("job", id)}`, detail });

export function toDryRun(
  draft: Pick<JobRow, "kind" | "description" | "version" | "eventsPerSecond" | "total">,
  pipeline: Pick<PipelineRow, "name">,
  actor: Actor,
  skipped: number,
): JobRow {
  return {
    ...draft,
    id: 0n,
    pipeline: pipeline.name,
    state: "preparing",
    reason: "a dry run: nothing was started",
    generation: 0,
    queued: 0,
    delivered: 0,
    filtered: 0,
    dead: 0,
    skipped,
    createdBy: actor.name,
    createdAt: new Date(0),
    finishedAt: undefined,
    paused: undefined,
    blocked: undefined,
  };
}

export const plural = (count: number, one: string): string => `${count.toLocaleString("en-US")} ${count === 1 ? one : `${one}s`}`;

function describeFilter({ fingerprint = "", code = "", step = "", sink = "", version = 0, since, until, ids = [] }: DeadLetterFilter): string {
  const parts = [
    fingerprint === "" ? "" : `cause ${fingerprint}`,
    code === "" ? "" : `code ${code}`,
    step === "" ? "" : `step ${step}`,
    sink === "" ? "" : `sink ${sink}`,
    version === 0 ? "" : `died in version ${version}`,
    since === undefined ? "" : `since ${since.toISOString()}`,
    until === undefined ? "" : `until ${until.toISOString()}`,
    ids.length === 0 ? "" : `${plural(ids.length, "id")} given`,
  ].filter((part) => part !== "");
  return parts.length === 0 ? "" : ` (${parts.join(", ")})`;
}
