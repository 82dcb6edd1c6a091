/** Figures per pipeline and minute. Engines and gateways keep them in memory and flush each second: for people to read, not for decisions; a crash loses a second. */
import type { PipelineId } from "@onedata/core";
import type { Store } from "./connection.ts";

export type PipelineCounts = {
  readonly pipelineId: PipelineId;
  readonly delivered: number;
  readonly filtered: number;
  readonly dead: number;
  /** Sum over those events of milliseconds from capture to completion. */
  readonly latencyMs: number;
};

/** `stripe` (0-99, one per process) keeps processes off each other's rows. */
export async function addProcessed(store: Store, counts: readonly PipelineCounts[], stripe: number): Promise<void> {
  if (counts.length === 0) return;
  const array = (values: readonly (bigint | number)[]): string => `{${values.join(",")}}`;
  await store.lease.unsafe(
    `insert into onedata.pipeline_stats as s (pipeline_id, minute, stripe, delivered, filtered, dead, latency_ms)
     select c.pipeline_id, date_trunc('minute', clock_timestamp()), $6::smallint, c.delivered, c.filtered, c.dead, c.latency_ms
       from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) c(pipeline_id, delivered, filtered, dead, latency_ms) order by 1
     on conflict (pipeline_id, minute, stripe) do update
        set delivered = s.delivered + excluded.delivered, filtered = s.filtered + excluded.filtered, dead = s.dead + excluded.dead, latency_ms = s.latency_ms + excluded.latency_ms`,
    [
      array(counts.map((count) => count.pipelineId)),
      array(counts.map((count) => count.delivered)),
      array(counts.map((count) => count.filtered)),
      array(counts.map((count) => count.dead)),
      array(counts.map((count) => Math.round(count.latencyMs))),
      String(stripe),
    ],
    { prepare: true },
  );
}
