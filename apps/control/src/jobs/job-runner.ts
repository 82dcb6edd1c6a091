/**
 * Works off jobs: makes their lists, hands their events out in batches, settles what came of them. Any number of processes may do so at once.
 *
 * Duty: which job's turn it is. Non-duty: the steps themselves (the store's), each of which is one transaction and may be cut off anywhere.
 * Invariants: every open job gets one step per round, so a large one starves nobody; a job whose step fails waits a little and holds nobody up.
 */
import { formatId, OneDataError } from "@onedata/core";
import { sleep } from "@onedata/mesh";
import { type Sql, WAKE_CHANNEL } from "@onedata/store";
import { listOpenJobs, listSome, purgeEndedJobs, settleStrandedLetters, workSome } from "@onedata/store/control";

export type JobRunnerPorts = {
  readonly sql: Sql;
  readonly log: { warn(message: string, fields: Readonly<Record<string, unknown>>): void };
};

/** While jobs are open, and they wait for the queue, their rate or each other. */
const OPEN_POLL_MS = 100;
const IDLE_POLL_MS = 500;
const AFTER_FAILURE_MS = 5_000;
const RECONCILE_MS = 60_000;

/** Until aborted. */
export async function runJobs({ sql, log }: JobRunnerPorts, signal: AbortSignal): Promise<void> {
  const failedUntilMs = new Map<bigint, number>();
  let reconciledMs = Number.NEGATIVE_INFINITY;
  while (!signal.aborted) {
    if (performance.now() - reconciledMs > RECONCILE_MS) {
      reconciledMs = performance.now();
      await reconcile({ sql, log }, signal);
    }
    const { open, moved } = await runRound({ sql, log }, failedUntilMs, signal);
    if (!moved) await sleep(open ? OPEN_POLL_MS : IDLE_POLL_MS, signal);
  }
}

/** No letter is stuck, whatever happened to its job. */
async function reconcile({ sql, log }: JobRunnerPorts, signal: AbortSignal): Promise<void> {
  try {
    const letters = await settleStrandedLetters(sql);
    if (letters > 0) log.warn("dead letters were left behind by a job that has ended; they are settled", { letters });
  } catch (error) {
    if (!signal.aborted) log.warn("dead letters of ended jobs could not be looked for", { error: OneDataError.from(error).message });
  }
}

/** One step of each open job. */
export async function runRound(
  { sql, log }: JobRunnerPorts,
  failedUntilMs: Map<bigint, number>,
  signal: AbortSignal,
): Promise<{ open: boolean; moved: boolean }> {
  let moved = false;
  try {
    const jobs = await listOpenJobs(sql);
    for (const { id, tenantId, state } of jobs) {
      if (signal.aborted) break;
      if ((failedUntilMs.get(id) ?? 0) > performance.now()) continue;
      try {
        const step = state === "preparing" ? listSome : workSome;
        if (await step(sql, tenantId, id)) moved = true;
        failedUntilMs.delete(id);
      } catch (error) {
        failedUntilMs.set(id, performance.now() + AFTER_FAILURE_MS);
        log.warn("a step of a job failed; it is tried again", { job: formatId("job", id), error: OneDataError.from(error).message });
      }
    }
    // Engines poll; this only saves them the wait.
    if (moved) await sql`select pg_notify(${WAKE_CHANNEL}, '')`;
    else if ((await purgeEndedJobs(sql)) > 0) moved = true;
    return { open: jobs.length > 0, moved };
  } catch (error) {
    if (!signal.aborted) log.warn("jobs could not be looked for", { error: OneDataError.from(error).message });
    return { open: true, moved: false };
  }
}
