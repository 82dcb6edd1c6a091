/** SubscriptionService: who is told by webhook, and what was sent. The signing secret is shown when it is made, and never again. */
import type { SubscriptionServiceDefinition } from "@onedata/contracts";
import { formatId, OneDataError, parseId, type TenantId, type Violation } from "@onedata/core";
import type { Implementation, ResponseInit } from "@onedata/mesh";
import type { AddressPolicy, HttpClient } from "@onedata/sinks";
import type { DeliveryRow, Sql } from "@onedata/store";
import {
  createSubscription,
  deleteSubscription,
  getPipeline,
  getSubscription,
  listDeliveries,
  listSubscriptions,
  rotateSubscriptionSecret,
  type SecretBox,
  type SubscriptionChange,
  type SubscriptionRow,
  updateSubscription,
} from "@onedata/store/control";
import { checkWebhookUrl } from "../webhooks/check-address.ts";
import { toWebhookMessage } from "../webhooks/message.ts";
import { makeWebhookSecret } from "../webhooks/sign.ts";
import type { Webhooks } from "../webhooks/webhooks.ts";
import { BIG, fromToken, toActor, toLimit, toToken } from "./call.ts";

type SubscriptionMessage = ResponseInit<(typeof SubscriptionServiceDefinition)["methods"]["getSubscription"]>;
type DeliveryMessage = ResponseInit<(typeof SubscriptionServiceDefinition)["methods"]["testSubscription"]>;

export type SubscriptionPorts = {
  readonly sql: Sql;
  readonly box: SecretBox;
  readonly webhooks: Webhooks;
  readonly client: HttpClient;
  readonly policy: AddressPolicy;
};

const TOPICS = [
  "pipeline.paused",
  "pipeline.blocked",
  "pipeline.unblocked",
  "import.stopped",
  "dead_letters.grew",
  "retention.blocked",
  "retention.unblocked",
];
const TOKEN = new RegExp(`^${BIG}$`);

export function createSubscriptionService(ports: SubscriptionPorts): Implementation<typeof SubscriptionServiceDefinition> {
  const { sql, box, webhooks } = ports;
  return {
    async createSubscription(request, context) {
      const change = await checkChange(ports, context.tenantId, request);
      const secret = makeWebhookSecret();
      const row = await createSubscription(sql, context.tenantId, toActor(context), { change, secret, box });
      return { subscription: toMessage(row), secret };
    },
    getSubscription: async ({ subscription }, { tenantId }) => toMessage(await getSubscription(sql, tenantId, toId(subscription))),
    listSubscriptions: async (_request, { tenantId }) => ({ subscriptions: (await listSubscriptions(sql, tenantId)).map(toMessage) }),
    async updateSubscription(request, context) {
      const id = toId(request.subscription);
      await getSubscription(sql, context.tenantId, id);
      const change = await checkChange(ports, context.tenantId, request);
      return toMessage(await updateSubscription(sql, context.tenantId, toActor(context), { id, change, enabled: request.enabled ?? true }));
    },
    async deleteSubscription({ subscription }, context) {
      await deleteSubscription(sql, context.tenantId, toActor(context), toId(subscription));
      return {};
    },
    async rotateSubscriptionSecret({ subscription }, context) {
      const secret = makeWebhookSecret();
      const row = await rotateSubscriptionSecret(sql, context.tenantId, toActor(context), { id: toId(subscription), secret, box });
      return { subscription: toMessage(row), secret };
    },
    async testSubscription({ subscription }, context) {
      const { tenantId, signal } = context;
      const id = toId(subscription);
      const noticeId = await webhooks.test(tenantId, { id, by: toActor(context).name, signal });
      const [row] = await listDeliveries(sql, tenantId, { id, limit: 1, before: noticeId + 1n });
      if (row === undefined) throw new OneDataError("subscription.not_found", "the subscription was removed while the test was sent");
      return toDelivery(row);
    },
    async listDeliveries({ subscription, pageSize, pageToken }, { tenantId }) {
      const limit = toLimit(pageSize);
      const [before] = fromToken(pageToken, TOKEN) ?? [];
      const rows = await listDeliveries(sql, tenantId, { id: toId(subscription), limit, before: before === undefined ? undefined : BigInt(before) });
      const last = rows.at(-1);
      return { deliveries: rows.map(toDelivery), nextPageToken: last === undefined || rows.length < limit ? "" : toToken(last.notice.id) };
    },
  };
}

async function checkChange(
  { sql, client, policy }: SubscriptionPorts,
  tenantId: TenantId,
  { url, topics, pipelines }: { url: string; topics: readonly string[]; pipelines: readonly string[] },
): Promise<SubscriptionChange> {
  const violations = topics.flatMap((topic, i): Violation[] =>
    TOPICS.includes(topic)
      ? []
      : [{ pointer: `/topics/${i}`, code: "webhook.topic", detail: `${JSON.stringify(topic)} is no topic; known: ${TOPICS.join(", ")}` }],
  );
  if (violations.length > 0) throw new OneDataError("request.invalid", violations[0]?.detail ?? "", { violations });
  for (const name of pipelines) await getPipeline(sql, tenantId, name);
  return { url: await checkWebhookUrl(url, { policy, client }), topics: [...new Set(topics)], pipelines: [...new Set(pipelines)] };
}

const toId = (text: string): bigint => parseId("sub", text) ?? -1n;

const toMessage = (row: SubscriptionRow): SubscriptionMessage => ({
  id: formatId("sub", row.id),
  url: row.url,
  topics: row.topics.length === 0 ? TOPICS : [...row.topics],
  enabled: row.enabled,
  pipelines: [...row.pipelines],
  problem: row.problem ?? "",
  createdAt: row.createdAt,
  deliveredAt: row.deliveredAt,
});

function toDelivery({ notice, state, tries, result, nextTryAt }: DeliveryRow): DeliveryMessage {
  const { id, body } = toWebhookMessage(notice);
  return { id, topic: notice.topic, state, tries, result, createdAt: notice.createdAt, nextTryAt, body };
}
