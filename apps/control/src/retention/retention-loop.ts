/**
 * Keeps retention, round after round, and raises an alarm for what cannot go: a log line at once and then hourly, as long as it lasts; a webhook to operators at the
 * start and one when it is over.
 * Non-duty: what goes and what stays (`@onedata/store/retention`).
 */
import type { Sql, Store } from "@onedata/store";
import { keepRetention, type RetentionDays, retentionProblems, tellRetention } from "@onedata/store/retention";

export type RetentionPorts = {
  readonly store: Pick<Store, "sql" | "url">;
  /** The operator's maximum. */
  readonly max: RetentionDays;
  readonly log: { warn(message: string, fields: Readonly<Record<string, unknown>>): void };
  readonly now: () => Date;
};

/** Somebody's transaction is in the way: it may end any moment, and old rows may be out of sight until then. */
const WAITING_MS = 2_000;
const ROUND_MS = 60_000;
const REPEAT_ALARM_MS = 3_600_000;

/** Each call is one round; it answers after how many milliseconds to come again. */
export function createRetentionRound({ store, max, log, now }: RetentionPorts): (signal: AbortSignal) => Promise<number> {
  const raised = new Map<string, number>();
  return async (signal) => {
    const at = now();
    try {
      const round = await keepRetention(store, { max, now: at, signal });
      return round.days.state === "waiting" ? WAITING_MS : ROUND_MS;
    } finally {
      if (!signal.aborted) await raise(store.sql, { max, log, at, raised });
    }
  };
}

async function raise(
  sql: Sql,
  { max, log, at, raised }: Pick<RetentionPorts, "max" | "log"> & { readonly at: Date; readonly raised: Map<string, number> },
): Promise<void> {
  const problems = await retentionProblems(sql, { max, now: at });
  await tellRetention(sql, { problems, now: at });
  for (const key of raised.keys()) if (!problems.some((problem) => problem.key === key)) raised.delete(key);
  for (const { key, detail } of problems) {
    if (at.getTime() - (raised.get(key) ?? 0) < REPEAT_ALARM_MS) continue;
    raised.set(key, at.getTime());
    log.warn("retention.alarm: old data could not be dropped", { detail });
  }
}
