/** Takes deleted pipelines away: discards their backlog where that was asked for, removes them once nothing waits. */
import { OneDataError, toTenantId } from "@onedata/core";
import type { Sql } from "@onedata/store";
import { discardBacklog, listDeleting, removeDrained } from "@onedata/store/control";

export type SweepOptions = {
  /** A capture that had read "running" may still commit for so long. */
  readonly graceSeconds: number;
  readonly signal: AbortSignal;
};

/** Per pipeline and round: a large backlog does not keep the others waiting. */
const DISCARD_BUDGET_MS = 10_000;

/** One round. Any number of processes may sweep at once. Returns how many pipelines were removed. */
export async function sweepDeleted(sql: Sql, { graceSeconds, signal }: SweepOptions): Promise<number> {
  let removed = 0;
  for (const { tenantId, name, discard } of await listDeleting(sql)) {
    if (signal.aborted) break;
    const tenant = toTenantId(tenantId);
    try {
      if (discard)
        await discardBacklog(
          sql,
          tenant,
          { name: "control" },
          { name, reason: "the pipeline was deleted", code: "pipeline.deleted", budgetMs: DISCARD_BUDGET_MS },
        );
      if (await removeDrained(sql, tenant, { name, graceSeconds })) removed += 1;
    } catch (error) {
      // Another process took it away first.
      if (OneDataError.from(error).code !== "pipeline.not_found") throw error;
    }
  }
  return removed;
}
