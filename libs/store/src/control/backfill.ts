/** Starts backfills: the events of a time range again, as a delivery of their own. The list is made by `job-list.ts`, in steps. */
import { OneDataError, type TenantId } from "@onedata/core";
import type { Sql } from "../connection.ts";
import type { Actor } from "./audit.ts";
import { withinIds } from "./dead-letter-filter.ts";
import { hasVerdict, type Verdict } from "./job-list.ts";
import { getJob, insertJob, type JobRow, nextGeneration } from "./jobs.ts";
import { getPipeline } from "./pipelines.ts";
import { plural, recordJob, requireStanding, requireVersion, toDryRun } from "./replay.ts";

export type BackfillOptions = {
  readonly pipeline: string;
  readonly since: Date;
  /** Absent = now. */
  readonly until: Date | undefined;
  readonly version: number;
  readonly eventsPerSecond: number;
  readonly reason: string;
  readonly verdict: Verdict | undefined;
  readonly dryRun: boolean;
};

/** A dry run answers what would be started now: a job without an id (0). */
export async function startBackfill(sql: Sql, tenantId: TenantId, actor: Actor, options: BackfillOptions): Promise<JobRow> {
  return sql.begin(async (tx) => {
    const pipeline = await getPipeline(tx, tenantId, options.pipeline);
    requireStanding(pipeline);
    await requireVersion(tx, tenantId, pipeline, options.version);
    const [range] = await tx<{ now: Date; from: bigint; until: bigint }[]>`
      select clock_timestamp() as now, onedata.id_at(${withinIds(options.since)}) - 1 as from,
             least(onedata.id_at(${withinIds(options.until ?? LATEST)}) - 1, onedata.next_id()) as until`;
    const until = options.until ?? range?.now ?? new Date(0);
    if (options.since >= until)
      throw new OneDataError("request.invalid", `since ${options.since.toISOString()} is not before until ${until.toISOString()}`, {
        violations: [{ pointer: "/since", code: "range", detail: "has to be before until" }],
      });
    const [listedTo, listUntil] = [range?.from ?? 0n, range?.until ?? 0n];
    const { verdict, version, eventsPerSecond, reason } = options;
    const matching = await tx<{ events: number }[]>`
      select ${verdict === undefined ? tx`coalesce(sum(b.n), 0)::int` : tx`count(*)::int`} as events from onedata.batches b
       ${verdict === undefined ? tx`` : tx`cross join lateral (select x.batch_id, x.n from onedata.events x where x.batch_id = b.id offset 0) e`}
       ${verdict === undefined ? tx`where true` : hasVerdict(tx, tenantId, verdict)}
         and b.pipeline_id = ${pipeline.id} and b.tenant_id = ${tenantId} and b.kind = 'capture' and b.id > ${listedTo} and b.id <= ${listUntil}`;
    const events = matching[0]?.events ?? 0;
    const description = `backfill ${plural(events, `${verdict === undefined ? "" : `${verdict} `}event`)} of ${pipeline.name} from ${options.since.toISOString()} to ${until.toISOString()}${version === 0 ? "" : ` with version ${version}`}`;
    const draft = { kind: "backfill", description, version, eventsPerSecond, total: events } as const;
    if (options.dryRun) return toDryRun(draft, pipeline, actor, 0);
    const generation = await nextGeneration(tx, tenantId, pipeline.id);
    const id = await insertJob(tx, tenantId, actor, {
      ...draft,
      pipelineId: pipeline.id,
      state: "preparing",
      spec: { reason, ...(verdict === undefined ? {} : { verdict }) },
      generation,
      listedTo,
      listUntil,
      matching: events,
      total: 0,
    });
    await recordJob(tx, tenantId, actor, { action: "StartBackfill", id, detail: { description, reason, version, generation } });
    return getJob(tx, tenantId, id);
  });
}

const LATEST = new Date("2200-01-01T00:00:00Z");
