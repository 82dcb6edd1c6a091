/** JobService: replays, backfills and discards as work that can be followed and cancelled. */
import type { JobServiceDefinition } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";
import { type Implementation, sleep } from "@onedata/mesh";
import type { Sql } from "@onedata/store";
import { cancelJob, getJob, listJobs, startBackfill, type Verdict } from "@onedata/store/control";
import { isEnded, toJobId, toJobMessage } from "../jobs/job-message.ts";
import { BIG, fromToken, storable, toActor, toLimit, toToken } from "./call.ts";

const WATCH_MS = 1_000;
const STATES = ["preparing", "running", "done", "failed", "cancelled"];

export function createJobService({ sql }: { readonly sql: Sql }): Implementation<typeof JobServiceDefinition> {
  return {
    async startBackfill({ pipeline, since, until, version, eventsPerSecond, reason, verdict, dryRun }, context) {
      const job = await startBackfill(sql, context.tenantId, toActor(context), {
        pipeline,
        since: since ?? new Date(0),
        until,
        version,
        eventsPerSecond,
        reason: storable(reason),
        verdict: toVerdict(verdict),
        dryRun,
      });
      return toJobMessage(job);
    },
    getJob: async ({ job }, { tenantId }) => toJobMessage(await getJob(sql, tenantId, toJobId(job))),
    async listJobs({ pipeline, state, pageSize, pageToken }, { tenantId }) {
      if (state !== "" && !STATES.includes(state)) throw invalid("/state", `unknown state ${JSON.stringify(state)}`, STATES);
      const limit = toLimit(pageSize);
      const before = fromToken(pageToken, new RegExp(`^${BIG}$`))?.[0];
      const rows = await listJobs(sql, tenantId, { pipeline, state, limit: limit + 1, before: before === undefined ? undefined : BigInt(before) });
      const page = rows.slice(0, limit);
      return { jobs: page.map(toJobMessage), nextPageToken: rows.length > limit ? toToken(page.at(-1)?.id ?? 0n) : "" };
    },
    cancelJob: async ({ job }, context) => toJobMessage(await cancelJob(sql, context.tenantId, toActor(context), toJobId(job))),
    async *watchJob({ job: id }, { tenantId, signal }) {
      while (!signal.aborted) {
        const job = await getJob(sql, tenantId, toJobId(id));
        yield toJobMessage(job);
        if (isEnded(job)) return;
        await sleep(WATCH_MS, signal);
      }
    },
  };
}

function toVerdict(text: string): Verdict | undefined {
  if (text === "") return undefined;
  if (text === "delivered" || text === "filtered" || text === "dead") return text;
  throw invalid("/verdict", `unknown verdict ${JSON.stringify(text)}`, ["delivered", "filtered", "dead"]);
}

const invalid = (pointer: string, what: string, known: readonly string[]): OneDataError =>
  new OneDataError("request.invalid", `${what}; known: ${known.join(", ")}`, { violations: [{ pointer, code: "in", detail: known.join(", ") }] });
