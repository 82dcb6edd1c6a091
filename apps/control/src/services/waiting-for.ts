/**
 * One sentence that says what an event waits for, since when, and until when or for what. No event is ever silently stuck.
 * The first reason that applies is the one that has to end first: a paused pipeline before a service that is down, that before the event's own turn.
 */
import { DEFAULT_RETRIES, formatId } from "@onedata/core";
import type { EventWait } from "@onedata/store/control";

/** "since 12:03 UTC", with the date when it is more than a day ago. */
export function since(at: Date, now: Date): string {
  const text = at.toISOString();
  return now.getTime() - at.getTime() > 86_400_000 ? `since ${text.slice(0, 10)} ${text.slice(11, 16)} UTC` : `since ${text.slice(11, 16)} UTC`;
}

const clock = (at: Date): string => `${at.toISOString().slice(11, 19)} UTC`;
const MANY = 10_000;
const count = (n: number): string => (n >= MANY ? "more than 10,000" : n.toLocaleString("en-US"));
const batches = (n: number): string => `${count(n)} ${n === 1 ? "batch" : "batches"}`;

/** `n`: the event's ordinal in the batch that waits. */
export function describeWait(wait: EventWait, n: number): string {
  const sentence = describe(wait, n);
  return wait.kind === "capture" ? sentence : `${describeJob(wait)}: ${sentence}`;
}

function describeJob({ kind, job }: EventWait): string {
  if (job === undefined) return kind;
  const state = job.state === "running" ? "" : ` is ${job.state}${job.reason === undefined ? "" : ` (${job.reason})`}`;
  return `${kind} ${formatId("job", job.id)}${state}`;
}

function describe(wait: EventWait, n: number): string {
  return (
    ofRun(wait) ??
    ofImport(wait) ??
    ofPipeline(wait) ??
    ofEngines(wait) ??
    ofService(wait) ??
    ofRetry(wait, n) ??
    ofLane(wait) ??
    ofSuspicion(wait) ??
    ofQueue(wait) ??
    (wait.failures === 0
      ? "its turn: an engine takes it next"
      : "its turn: a service or an engine died with it once, so it runs apart from what ran with it")
  );
}

function ofRun({ running, attempt, ownerLostAt, runDeadline, now }: EventWait): string | undefined {
  if (!running) return undefined;
  if (ownerLostAt !== undefined)
    return `the engine that runs it, attempt ${attempt}, has given no sign of life ${since(ownerLostAt, now)}; another one takes it over`;
  return `an engine is running it, attempt ${attempt}${runDeadline === undefined ? "" : `; taken over by another one if it gives no sign of life until ${clock(runDeadline)}`}`;
}

function ofImport({ import: own, now }: EventWait): string | undefined {
  if (own?.stopped === undefined) return undefined;
  const id = formatId("imp", own.id);
  return `import ${id} stopped ${since(own.stopped.at, now)}: ${own.stopped.reason.replace(/^stopped itself: /, "")}; until it is resumed`;
}

function ofPipeline(wait: EventWait): string | undefined {
  if (wait.pipelineState !== "paused") return undefined;
  const itself = wait.pipelineReason?.split("paused itself: ")[1];
  if (itself !== undefined && wait.pipelineStateChangedAt !== undefined)
    return `paused itself ${since(wait.pipelineStateChangedAt, wait.now)}: ${itself}`;
  const by = wait.pipelineStateChangedBy === undefined ? "" : ` by ${wait.pipelineStateChangedBy}`;
  const at = wait.pipelineStateChangedAt === undefined ? "" : ` ${since(wait.pipelineStateChangedAt, wait.now)}`;
  return `paused${by}${at}${wait.pipelineReason === undefined ? "" : `: ${wait.pipelineReason}`}`;
}

function ofEngines({ enginesAlive, lastEngineAt, now }: EventWait): string | undefined {
  if (enginesAlive > 0) return undefined;
  return lastEngineAt === undefined ? "no engine is running" : `no engine is alive ${since(lastEngineAt, now)}`;
}

function ofService({ blocked, now }: EventWait): string | undefined {
  if (blocked === undefined) return undefined;
  const at = blocked.since === undefined ? "" : `, ${since(blocked.since, now)}`;
  const next = blocked.until !== undefined && blocked.until > now ? `next try ${clock(blocked.until)}` : "the next try is due";
  return `${blocked.reason}${at}, ${next}`;
}

function ofRetry({ availableAt, progress, now, attempt, failures }: EventWait, n: number): string | undefined {
  if (availableAt === undefined || availableAt <= now) return undefined;
  const next = `at ${clock(availableAt)}`;
  const own = progress.find((entry) => entry.n === n);
  const retry = own?.retry;
  if (own !== undefined && retry !== undefined) {
    const turn = `try ${(own.places?.[retry.at]?.tries ?? own.tries) + 1} of ${retry.limit ?? DEFAULT_RETRIES + 1} ${next}`;
    if (retry.alone === "proved") return `${retry.at} fails with this record alone, and writes others (${retry.message}), ${turn}`;
    if (retry.alone === "unproved")
      return `${retry.at} failed with this record alone and has written no other since (${retry.message}): nothing is held against it, next try ${next}`;
    if (own.tries > 0) return `${retry.at} asked to be tried again (${retry.code}: ${retry.message}), ${turn}`;
  }
  if (failures > 0) return `a service or an engine died with it in flight; it is tried again ${next}`;
  return progress.length > 0
    ? `others of its batch asked to be tried again; it goes with them ${next}`
    : `it is tried again after attempt ${attempt}, ${next}`;
}

function ofLane({ orderedBehind, batchesAhead, now }: EventWait): string | undefined {
  if (orderedBehind === undefined) return undefined;
  const { running, availableAt, suspect } = orderedBehind;
  if (running) return "an earlier event of its ordering lane is at work";
  if (availableAt !== undefined && availableAt > now) return `an earlier event of its ordering lane is tried again at ${clock(availableAt)}`;
  if (suspect) return "an earlier event of its ordering lane is suspected of crashing services, and runs alone before it";
  return `${batches(batchesAhead)} ahead in its ordering lane`;
}

function ofSuspicion({ suspect, failures }: EventWait): string | undefined {
  return suspect ? `suspected of crashing services or engines, which died ${failures} times with it: it runs alone, when its turn comes` : undefined;
}

function ofQueue({ batchesAhead, importBatchesAhead }: EventWait): string | undefined {
  if (batchesAhead === 0) return undefined;
  if (importBatchesAhead === 0) return `${batches(batchesAhead)} ahead`;
  const others = batchesAhead - importBatchesAhead;
  return `${batches(importBatchesAhead)} of your import ahead${others > 0 && batchesAhead < MANY ? `, and ${count(others)} of others` : ""}`;
}
