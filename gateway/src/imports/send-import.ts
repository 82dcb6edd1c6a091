/** An import as the contract's `Import`, in JSON. */
import type { ServerResponse } from "node:http";
import { formatId } from "@onedata/core";
import type { ImportProgress } from "@onedata/store/control";

export function sendImport(response: ServerResponse, status: number, progress: ImportProgress, resumable = false): void {
  const id = formatId("imp", progress.id);
  const body = JSON.stringify({
    id,
    pipeline: progress.pipeline,
    state: progress.state,
    accepted: progress.accepted,
    rejected: progress.rejected,
    delivered: progress.delivered,
    filtered: progress.filtered,
    dead: progress.dead,
    waiting: Math.max(0, progress.accepted - progress.delivered - progress.filtered - progress.dead),
    ...(resumable ? { resumeFrom: { byte: progress.sourceBytes, line: progress.sourceLines } } : {}),
    createdAt: progress.createdAt.toISOString(),
    ...(progress.finishedAt === undefined || progress.state !== "done" ? {} : { doneAt: progress.finishedAt.toISOString() }),
  });
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body), location: `/v1/imports/${id}` });
  response.end(body);
}
