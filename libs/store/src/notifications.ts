/**
 * What people asked to be told: an outbox row and one delivery per subscription, in the caller's own transaction.
 * Non-duty: sending (the control process), wording (its messages), subscriptions (`control/subscriptions.ts`).
 *
 * Invariants:
 * 1. Nothing is told that was not committed, and what was committed is told: the rows stand in the transaction of what happened.
 * 2. One (topic, subject, episode) is told once, however many processes meet it.
 * 3. Details carry names, figures, codes and ids: never a payload, never a secret.
 *
 * Engines tell `pipeline.paused` and `import.stopped`, in the transaction that pauses or stops. `pipeline.blocked`, `pipeline.unblocked` and
 * `dead_letters.grew` are told by control's detectors, which look at lanes and dead letters: an engine that meets an outage has nothing to do. `retention.*` is told by
 * control's rounds of retention.
 */
import type { PipelineId, TenantId } from "@onedata/core";
import type { Sql, Transaction } from "./connection.ts";

export type NoticeDetail =
  | {
      readonly topic: "pipeline.paused";
      /** `reason`: as `waitingFor` says it, "paused itself: 214 of the last ...". `dead` of the last `events` of one version and class. */
      readonly detail: {
        readonly reason: string;
        readonly version?: number;
        readonly class?: "live" | "bulk";
        readonly dead?: number;
        readonly events?: number;
      };
    }
  | {
      readonly topic: "import.stopped";
      /** `import`: public id. */
      readonly detail: {
        readonly import: string;
        readonly reason: string;
        readonly version?: number;
        readonly dead?: number;
        readonly events?: number;
      };
    }
  | { readonly topic: "pipeline.blocked"; readonly detail: { readonly since: string; readonly reason: string } }
  | {
      readonly topic: "pipeline.unblocked";
      readonly detail: { readonly since: string; readonly until: string; readonly reason: string };
    }
  | {
      readonly topic: "dead_letters.grew";
      /** `message`: its shape, values taken out. `example`: public id of an event. `causes` instead of a group when too many groups are new. */
      readonly detail:
        | {
            readonly count: number;
            readonly fingerprint: string;
            readonly code: string;
            readonly step: string;
            readonly sink?: string;
            readonly message: string;
            readonly version?: number;
            readonly example: string;
          }
        | { readonly causes: number };
    }
  /** Of the installation, for operators. `detail`: what could not go, and who is in the way. */
  | { readonly topic: "retention.blocked"; readonly detail: { readonly since: string; readonly detail: string } }
  | { readonly topic: "retention.unblocked"; readonly detail: { readonly since: string; readonly until: string } }
  | { readonly topic: "test"; readonly detail: { readonly by: string } };

export type Topic = NoticeDetail["topic"];

export type Notice = NoticeDetail & {
  readonly tenantId: TenantId;
  readonly pipelineId?: PipelineId;
  /** What it is about: `pipelines/orders`, `imports/imp_…`. */
  readonly subject: string;
  /** Which time of it: the moment of the pause, the first letter's id. The same one is told once. */
  readonly episode: string;
};

/**
 * Called INSIDE the transaction of what happened. Returns whether it is new. Subscriptions made later do not hear of it; one that is deleted
 * just now is left out (the lock waits for that) and fails nobody's transaction.
 */
export async function notify(sql: Sql | Transaction, notice: Notice): Promise<boolean> {
  const { tenantId, pipelineId, topic, subject, episode, detail } = notice;
  const rows = await sql<{ id: bigint }[]>`
    with told as (
      insert into onedata.notifications (tenant_id, topic, pipeline_id, pipeline, subject, episode, detail)
      values (${tenantId}, ${topic}, ${pipelineId ?? null}, coalesce((select name from onedata.pipelines where tenant_id = ${tenantId} and id = ${pipelineId ?? null}::bigint), ''),
              ${subject}, ${episode}, ${JSON.stringify(detail)}::text::jsonb)
      on conflict (tenant_id, topic, subject, episode) do nothing
      returning id, tenant_id, topic, pipeline
    ), fanned as (
      insert into onedata.deliveries (notification_id, subscription_id, tenant_id)
      select told.id, s.id, s.tenant_id from told join onedata.subscriptions s on s.tenant_id = told.tenant_id
       where s.enabled and (s.topics = '{}' or told.topic = any(s.topics)) and (s.pipelines = '{}' or told.pipeline = any(s.pipelines))
         for key share of s
    )
    select id from told`;
  return rows.length > 0;
}
