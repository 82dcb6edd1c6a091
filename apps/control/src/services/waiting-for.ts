/** One sentence that says what an event waits for. No event is ever silently stuck. */
import type { EventWait } from "@onedata/store/control";

/** "since 12:03 UTC", with the date when it is more than a day ago. */
export function since(at: Date, now: Date): string {
  const text = at.toISOString();
  return now.getTime() - at.getTime() > 86_400_000 ? `since ${text.slice(0, 10)} ${text.slice(11, 16)} UTC` : `since ${text.slice(11, 16)} UTC`;
}

const clock = (at: Date): string => `${at.toISOString().slice(11, 19)} UTC`;
const count = (n: number): string => (n >= 10_000 ? "more than 10,000" : n.toLocaleString("en-US"));

export function describeWait(wait: EventWait, { isOfImport }: { isOfImport: boolean }): string {
  if (wait.running) return `an engine is running it, attempt ${wait.attempt}`;
  if (wait.pipelineState === "paused") {
    const by = wait.pipelineStateChangedBy === undefined ? "" : ` by ${wait.pipelineStateChangedBy}`;
    const at = wait.pipelineStateChangedAt === undefined ? "" : ` ${since(wait.pipelineStateChangedAt, wait.now)}`;
    return `paused${by}${at}${wait.pipelineReason === undefined ? "" : `: ${wait.pipelineReason}`}`;
  }
  if (wait.blockedUntil !== undefined && wait.blockedUntil > wait.now)
    return `${wait.blockReason ?? "a service cannot do its work"}, next try ${clock(wait.blockedUntil)}`;
  if (wait.availableAt !== undefined && wait.availableAt > wait.now)
    return `it is tried again after attempt ${wait.attempt}, next try ${clock(wait.availableAt)}`;
  if (wait.enginesAlive === 0) return "no engine is running";
  if (wait.batchesAhead > 0)
    return `${count(wait.batchesAhead)} ${wait.batchesAhead === 1 ? "batch" : "batches"}${isOfImport ? " of your import" : ""} ahead`;
  return "its turn: an engine takes it next";
}
