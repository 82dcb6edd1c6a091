/**
 * Which pipelines cannot go on because a service or sink cannot do its work, told once per outage when it has lasted a minute, and once when it is over.
 * Duty: compare lanes with what was seen the round before. Non-duty: blocking and freeing lanes (engines).
 * Invariants: one process at a time, by the detector's row; what is told and that it was told is one transaction.
 */
import { type PipelineId, type TenantId, toPipelineId, toTenantId } from "@onedata/core";
import type { Sql, Transaction } from "./connection.ts";
import { notify } from "./notifications.ts";

export type OutageDetection = {
  /** An outage is told after so long. */
  readonly afterMs: number;
};

/** Returns how many notices it wrote. */
export async function detectOutages(sql: Sql, { afterMs }: OutageDetection): Promise<number> {
  return sql.begin(async (tx) => {
    const [mine] = await tx`select 1 from onedata.detectors where name = 'outages' for update skip locked`;
    if (mine === undefined) return 0;
    await tx`
      insert into onedata.outages as o (pipeline_id, tenant_id, since, reason)
      select l.pipeline_id, min(l.tenant_id), coalesce(min(l.block_since), clock_timestamp()), coalesce(min(l.block_reason), 'a service cannot do its work')
        from onedata.lanes l
       where l.block_failures > 0 and l.blocked_until is not null and exists (select from onedata.queue q where q.lane_id = l.id and q.run_id is null)
       group by l.pipeline_id
      on conflict (pipeline_id) do update set reason = excluded.reason where o.reason <> excluded.reason and o.told_at is null`;
    const begun = await tx<OutageRecord[]>`
      update onedata.outages o set told_at = clock_timestamp() from onedata.pipelines p
       where p.id = o.pipeline_id and o.told_at is null and o.since <= clock_timestamp() - make_interval(secs => ${afterMs}::float8 / 1000) and ${stillBlocked(tx)}
      returning o.*, p.name`;
    let told = 0;
    for (const row of begun) {
      const { reason } = row;
      told += Number(await notify(tx, { ...toWhat(row), topic: "pipeline.blocked", detail: { since: row.since.toISOString(), reason } }));
    }
    const ended = await tx<OutageRecord[]>`
      delete from onedata.outages o where not ${stillBlocked(tx)} returning o.*, (select name from onedata.pipelines p where p.id = o.pipeline_id) as name`;
    for (const row of ended) {
      // A pipeline that was deleted meanwhile, or an outage that nobody heard of, is not worth a message.
      if (row.told_at === null || row.name === null) continue;
      const { reason } = row;
      const detail = { since: row.since.toISOString(), until: new Date().toISOString(), reason };
      told += Number(await notify(tx, { ...toWhat(row), topic: "pipeline.unblocked", detail }));
    }
    return told;
  });
}

type OutageRecord = { pipeline_id: bigint; tenant_id: bigint; since: Date; reason: string; told_at: Date | null; name: string | null };

/** While it is tried again all of its batches may be under a run: they count too. */
const stillBlocked = (tx: Transaction) => tx`exists (
  select from onedata.lanes l where l.pipeline_id = o.pipeline_id and l.block_failures > 0
     and (exists (select from onedata.queue q where q.lane_id = l.id and q.run_id is null) or exists (select from onedata.queue q where q.lane_id = l.id and q.run_id is not null)))`;

const toWhat = (
  row: OutageRecord,
): { readonly tenantId: TenantId; readonly pipelineId: PipelineId; readonly subject: string; readonly episode: string } => ({
  tenantId: toTenantId(row.tenant_id),
  pipelineId: toPipelineId(row.pipeline_id),
  subject: `pipelines/${row.name ?? row.pipeline_id}`,
  episode: row.since.toISOString(),
});
