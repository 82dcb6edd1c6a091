/** Jobs as the contract shows them. */
import type { Job } from "@onedata/contracts";
import { formatId, OneDataError, parseId } from "@onedata/core";
import type { JobRow } from "@onedata/store/control";
import { since } from "../services/waiting-for.ts";

export function toJobId(text: string): bigint {
  const id = parseId("job", text);
  if (id === undefined) throw new OneDataError("job.not_found", `no job ${JSON.stringify(text.slice(0, 60))}`);
  return id;
}

export const isEnded = (job: JobRow): boolean => job.finishedAt !== undefined;

export function toJobMessage(job: JobRow): Job {
  return {
    id: job.id === 0n ? "" : formatId("job", job.id),
    pipeline: job.pipeline,
    kind: job.kind,
    state: job.state,
    reason: describeReason(job),
    version: job.version,
    generation: job.generation,
    total: job.total,
    queued: job.queued,
    delivered: job.delivered,
    filtered: job.filtered,
    dead: job.dead,
    skipped: job.skipped,
    eventsPerSecond: job.eventsPerSecond,
    createdBy: job.createdBy,
    createdAt: job.id === 0n ? undefined : job.createdAt,
    doneAt: job.finishedAt,
    description: job.description,
  };
}

function describeReason(job: JobRow): string {
  if (job.reason !== undefined) return job.reason;
  if (isEnded(job)) return "";
  if (job.state === "preparing") return "its list is being made";
  const { paused, blocked } = job;
  if (paused !== undefined)
    return `the pipeline is paused${paused.by === undefined ? "" : ` by ${paused.by}`} ${since(paused.at, new Date())}${paused.reason === undefined ? "" : `: ${paused.reason}`}`;
  const open = job.queued - job.delivered - job.filtered - job.dead;
  if (open > 0 && blocked !== undefined) return `${blocked.reason}, next try ${blocked.until.toISOString().slice(11, 19)} UTC`;
  if (open > 0) return `${open.toLocaleString("en-US")} of its events wait or run`;
  return job.eventsPerSecond > 0 ? `it takes ${job.eventsPerSecond.toLocaleString("en-US")} events per second` : "";
}
