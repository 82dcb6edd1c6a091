/** Pausing, resuming and deleting pipelines. Non-duty: taking a deleted one away (`backlog.ts`). */
import { OneDataError, type TenantId } from "@onedata/core";
import type { Sql } from "../connection.ts";
import { type Actor, recordChange } from "./audit.ts";
import { getPipeline, lockPipeline, type PipelineRow } from "./pipelines.ts";

/** Pauses or resumes. Asking for the state it has changes nothing: who paused first stays on record. */
export async function setPipelineState(
  sql: Sql,
  tenantId: TenantId,
  actor: Actor,
  { name, state, reason }: { name: string; state: "running" | "paused"; reason: string },
): Promise<PipelineRow> {
  return sql.begin(async (tx) => {
    const before = await lockPipeline(tx, tenantId, name);
    if (before.state === "deleting")
      throw new OneDataError("pipeline.conflict", `pipeline ${JSON.stringify(name)} is being deleted; it can neither be paused nor resumed`);
    if (before.state === state) return before;
    await tx`
      update onedata.pipelines set state = ${state}, reason = ${reason === "" ? null : reason}, state_changed_by = ${actor.name}, state_changed_at = now()
       where tenant_id = ${tenantId} and id = ${before.id}`;
    await recordChange(tx, tenantId, actor, {
      action: state === "paused" ? "PausePipeline" : "ResumePipeline",
      subject: `pipelines/${name}`,
      detail: { reason },
    });
    return getPipeline(tx, tenantId, name);
  });
}

/** Refuses new events from now on; `removeDrained` takes the rest away once nothing waits. A paused pipeline drains too. */
export async function markDeleting(
  sql: Sql,
  tenantId: TenantId,
  actor: Actor,
  { name, discard }: { name: string; discard: boolean },
): Promise<PipelineRow> {
  return sql.begin(async (tx) => {
    const before = await lockPipeline(tx, tenantId, name);
    if (before.state === "deleting" && !discard) return before;
    await tx`
      update onedata.pipelines set state = 'deleting', reason = ${discard ? "discard" : null}, state_changed_by = ${actor.name},
             state_changed_at = case when state = 'deleting' then state_changed_at else now() end
       where tenant_id = ${tenantId} and id = ${before.id}`;
    await recordChange(tx, tenantId, actor, { action: "DeletePipeline", subject: `pipelines/${name}`, detail: { discard } });
    return getPipeline(tx, tenantId, name);
  });
}
