/**
 * A pipeline pauses itself when too many of its last events died; in bulk only the import stops.
 *
 * Duty: the window of the last events per version and class, exact to an engine's report; the pause, with its sentence and its notice.
 * Non-duty: when engines report (`death-watch.ts` of the engine; never while nothing dies), which batches count (captures only, no jobs).
 *
 * Invariants: one window per (pipeline, version, class, import) over all engines, under its row lock; what a version did that is not active any more pauses
 * nobody; counting restarts whenever the pipeline's state or version changes (a trigger) and when an import is resumed.
 */
import { formatId, type PipelineId, type TenantId } from "@onedata/core";
import type { LaneClass } from "./capture-batches.ts";
import type { Sql, Store, Transaction } from "./connection.ts";
import { recordChange } from "./control/audit.ts";
import { notify } from "./notifications.ts";
import { parkImport } from "./stopped-imports.ts";

/** In bulk every import has a window of its own. */
export type WindowKey = {
  readonly pipelineId: PipelineId;
  readonly version: number;
  readonly laneClass: LaneClass;
  readonly importId: bigint | undefined;
};

export type DeathReport = WindowKey & {
  /** Good ones since the last report of this engine, before the first that died; at most a window of them. */
  readonly before: number;
  /** From the first that died on. */
  readonly events: number;
  readonly dead: number;
  readonly deadShare: number;
  readonly minimum: number;
};

/** As long as this many events: older ones slide out. */
export const WINDOW_EVENTS = 1000;
const WINDOW_LIFETIME = "1 day";
const SELF = { name: "onedata" };

type Window = { readonly events: number; readonly dead: number };

/** Adds to the window and pauses or stops what is past its limit. Returns the sentence of a pause that this report brought about. */
export async function reportDeaths(store: Store, tenantId: TenantId, report: DeathReport): Promise<string | undefined> {
  const window = await addToWindow(store, report);
  if (window.dead < report.minimum || window.dead <= report.deadShare * window.events) return undefined;
  const { importId } = report;
  if (report.laneClass === "live" || importId === undefined) return pausePipeline(store, tenantId, report, window);
  const reason = await stopImport(store, tenantId, { ...report, importId }, window);
  // Also when it was stopped before: what was in a run then is back by now.
  await parkImport(store.sql, tenantId, { pipelineId: report.pipelineId, importId });
  return reason;
}

async function addToWindow(store: Store, report: DeathReport): Promise<Window> {
  const { pipelineId, version, laneClass, before, events, dead } = report;
  const [row] = await store.lease<{ events: number; dead: number }[]>`
    insert into onedata.death_windows as w (pipeline_id, version, class, import_id, events, dead)
    values (${pipelineId}, ${version}, ${laneClass}, ${importOf(report)}, array_remove(array[${before}::int, ${events}::int], 0), case when ${before} = 0 then array[${dead}::int] else array[0, ${dead}::int] end)
    on conflict (pipeline_id, version, class, import_id) do update set updated_at = clock_timestamp(), (events, dead) = (
      select array_agg(z.e order by z.i), array_agg(z.d order by z.i)
        from (select x.e, x.d, x.i, sum(x.e) over (order by x.i desc) - x.e as newer
                from unnest(w.events || excluded.events, w.dead || excluded.dead) with ordinality x(e, d, i)) z
       where z.newer < ${WINDOW_EVENTS})
    returning (select sum(e) from unnest(w.events) e)::int as events, (select sum(d) from unnest(w.dead) d)::int as dead`;
  return { events: row?.events ?? before + events, dead: row?.dead ?? dead };
}

/**
 * Good events of windows that other engines, or earlier reports, have opened. One statement for all; where nothing has died there is no window, and nothing is
 * written. Returns the indices of those that were counted.
 */
export async function addGoodEvents(store: Store, counts: readonly (WindowKey & { readonly events: number })[]): Promise<ReadonlySet<number>> {
  if (counts.length === 0) return new Set();
  const list = (values: readonly (bigint | number | string)[]): string => `{${values.join(",")}}`;
  const rows = await store.lease<{ place: number }[]>`
    update onedata.death_windows w set updated_at = clock_timestamp(), (events, dead) = (
      select array_agg(z.e order by z.i), array_agg(z.d order by z.i)
        from (select x.e, x.d, x.i, sum(x.e) over (order by x.i desc) - x.e as newer
                from unnest(w.events || g.events, w.dead || 0) with ordinality x(e, d, i)) z
       where z.newer < ${WINDOW_EVENTS})
      from unnest(${list(counts.map((count) => count.pipelineId))}::bigint[], ${list(counts.map((count) => count.version))}::int[],
                  ${list(counts.map((count) => count.laneClass))}::text[], ${list(counts.map((count) => importOf(count)))}::bigint[],
                  ${list(counts.map((count) => count.events))}::int[]) with ordinality g(pipeline_id, version, class, import_id, events, place)
     where w.pipeline_id = g.pipeline_id and w.version = g.version and w.class = g.class and w.import_id = g.import_id
    returning g.place::int as place`;
  return new Set(rows.map(({ place }) => place - 1));
}

async function pausePipeline(store: Store, tenantId: TenantId, report: DeathReport, window: Window): Promise<string | undefined> {
  const { pipelineId, version, laneClass } = report;
  return store.sql.begin(async (tx) => {
    const figures = `${window.dead.toLocaleString("en-US")} of the last ${window.events.toLocaleString("en-US")} ${laneClass} events of version ${version} died`;
    const reason = `paused itself: ${figures}${await mostFrequentCause(tx, tenantId, { pipelineId, version, importId: undefined })}`;
    const [paused] = await tx<{ name: string; at: Date }[]>`
      update onedata.pipelines set state = 'paused', reason = ${reason}, state_changed_by = ${SELF.name}, state_changed_at = clock_timestamp()
       where tenant_id = ${tenantId} and id = ${pipelineId} and state = 'running' and active_version = ${version} returning name, state_changed_at as at`;
    if (paused === undefined) return undefined;
    const subject = `pipelines/${paused.name}`;
    await recordChange(tx, tenantId, SELF, { action: "PausePipeline", subject, detail: { reason } });
    await notify(tx, {
      topic: "pipeline.paused",
      tenantId,
      pipelineId,
      subject,
      episode: paused.at.toISOString(),
      detail: { reason, version, class: laneClass, ...window },
    });
    return reason;
  });
}

async function stopImport(
  store: Store,
  tenantId: TenantId,
  { pipelineId, version, importId }: DeathReport & { readonly importId: bigint },
  window: Window,
): Promise<string | undefined> {
  return store.sql.begin(async (tx) => {
    const figures = `${window.dead.toLocaleString("en-US")} of its last ${window.events.toLocaleString("en-US")} events died in version ${version}`;
    const reason = `stopped itself: ${figures}${await mostFrequentCause(tx, tenantId, { pipelineId, version, importId })}`;
    const [stopped] = await tx<{ at: Date }[]>`
      update onedata.imports set stopped_at = clock_timestamp(), stop_reason = ${reason}, updated_at = now()
       where tenant_id = ${tenantId} and id = ${importId} and stopped_at is null returning stopped_at as at`;
    if (stopped === undefined) return undefined;
    const publicId = formatId("imp", importId);
    await recordChange(tx, tenantId, SELF, { action: "StopImport", subject: `imports/${publicId}`, detail: { reason } });
    await notify(tx, {
      topic: "import.stopped",
      tenantId,
      pipelineId,
      subject: `imports/${publicId}`,
      episode: stopped.at.toISOString(),
      detail: { import: publicId, reason, version, ...window },
    });
    return reason;
  });
}

/** "; most: record.invalid at step valid"; looked for among the newest dead letters. */
async function mostFrequentCause(
  tx: Transaction,
  tenantId: TenantId,
  { pipelineId, version, importId }: { readonly pipelineId: PipelineId; readonly version: number; readonly importId: bigint | undefined },
): Promise<string> {
  const [cause] = await tx<{ code: string; place: string | null; is_sink: boolean }[]>`
    select code, coalesce(sink, step) as place, sink is not null as is_sink from (
      select code, step, sink, version, import_id from onedata.dead_letters
       where tenant_id = ${tenantId} and pipeline_id = ${pipelineId} and state = 'open' order by id desc limit ${WINDOW_EVENTS}) newest
     where version = ${version} and (${importId ?? null}::bigint is null or import_id = ${importId ?? null})
     group by code, coalesce(sink, step), sink is not null order by count(*) desc limit 1`;
  if (cause === undefined) return "";
  const at =
    cause.place === null || cause.place === ""
      ? ""
      : cause.place === "input"
        ? " at the input"
        : ` at ${cause.is_sink ? "sink" : "step"} ${cause.place}`;
  return `; most: ${cause.code}${at}`;
}

/** The import counts anew from now on. */
export async function restartImportWindow(sql: Sql | Transaction, importId: bigint): Promise<void> {
  await sql`delete from onedata.death_windows where import_id = ${importId}`;
}

/** For the sweep: windows of what is long over. */
export async function forgetDeathWindows(sql: Sql): Promise<number> {
  const result = await sql`delete from onedata.death_windows where updated_at < clock_timestamp() - ${WINDOW_LIFETIME}::interval`;
  return result.count;
}

const importOf = ({ laneClass, importId }: WindowKey): bigint => (laneClass === "bulk" ? (importId ?? 0n) : 0n);
