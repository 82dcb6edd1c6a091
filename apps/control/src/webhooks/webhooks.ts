/**
 * Sends what is due, in any number of control processes at once.
 *
 * Invariants:
 * 1. At least once: a message is claimed with a lease, and finished only behind its fence. A receiver tells repeats by `webhook-id`.
 * 2. A subscription has one message in flight per process; those whose last try failed share slots of their own, so the dead ones delay nobody else.
 * 3. Stopping gives back what is in flight.
 */
import { randomUUID } from "node:crypto";
import { OneDataError, type TenantId } from "@onedata/core";
import { sleep } from "@onedata/mesh";
import type { HttpClient } from "@onedata/sinks";
import {
  type ClaimedDelivery,
  claimDeliveries,
  claimTestDelivery,
  type DeliveryOutcome,
  finishDelivery,
  releaseDelivery,
  type Sql,
} from "@onedata/store";
import { placeOfSubscription, type SecretBox } from "@onedata/store/control";
import { toWebhookMessage } from "./message.ts";
import { retryInMs } from "./retry.ts";
import { type Attempt, sendWebhook } from "./send.ts";

export type WebhookPorts = {
  readonly sql: Sql;
  readonly box: SecretBox;
  readonly client: HttpClient;
  readonly log: { warn(message: string, fields: Readonly<Record<string, unknown>>): void };
  readonly now: () => number;
  /** From [0, 1). */
  readonly random: () => number;
  readonly timeoutMs?: number;
  /** Longer than the timeout. */
  readonly leaseMs?: number;
};

export interface Webhooks {
  /** One round: claims what is due and has a slot, and starts sending it. Resolves when all of it was started; returns how much that was. */
  start(signal: AbortSignal): Promise<number>;
  /** Until aborted; then until nothing is in flight. */
  run(signal: AbortSignal): Promise<void>;
  /** Resolves when nothing is in flight. */
  settled(): Promise<void>;
  /** Sends a test message now. Returns the id of its notice; throws `subscription.not_found`. */
  test(tenantId: TenantId, request: { readonly id: bigint; readonly by: string; readonly signal: AbortSignal }): Promise<bigint>;
}

const POLL_MS = 1_000;
const TIMEOUT_MS = 15_000;
const LEASE_MS = 60_000;
const SLOTS = { healthy: 32, troubled: 8 };

export function createWebhooks(ports: WebhookPorts): Webhooks {
  const { sql, box, client, log, timeoutMs = TIMEOUT_MS, leaseMs = LEASE_MS } = ports;
  const inFlight = { healthy: new Map<bigint, Promise<void>>(), troubled: new Map<bigint, Promise<void>>() };

  const attempt = async (delivery: ClaimedDelivery, signal: AbortSignal): Promise<Attempt> => {
    const place = placeOfSubscription(delivery.tenantId, delivery.subscriptionId);
    let secrets: string[];
    try {
      secrets = [delivery.secret, ...(delivery.oldSecret === undefined ? [] : [delivery.oldSecret])].map((sealed) => box.open(sealed, place));
    } catch (error) {
      return { kind: "failed", result: OneDataError.from(error).message };
    }
    const { id, body } = toWebhookMessage(delivery.notice);
    return sendWebhook(client, { url: delivery.url, id, body, secrets, nowMs: ports.now(), timeoutMs, signal });
  };

  const deliver = async (delivery: ClaimedDelivery, signal: AbortSignal): Promise<void> => {
    try {
      await finishDelivery(sql, delivery, toOutcome(await attempt(delivery, signal), delivery.tries + 1, ports.random()));
    } catch (error) {
      // What could not be noted comes again when its lease ends.
      if (signal.aborted) await releaseDelivery(sql, delivery).catch(() => undefined);
      else log.warn("the outcome of a webhook could not be noted; it is sent again", { error: OneDataError.from(error).message });
    }
  };

  const startOf = async (kind: "healthy" | "troubled", signal: AbortSignal): Promise<number> => {
    const slots = inFlight[kind];
    const limit = SLOTS[kind] - slots.size;
    if (limit <= 0 || signal.aborted) return 0;
    const busy = [...inFlight.healthy.keys(), ...inFlight.troubled.keys()];
    const claimed = await claimDeliveries(sql, { claim: randomUUID(), leaseMs, limit, troubled: kind === "troubled", busy });
    for (const delivery of claimed) {
      const { subscriptionId } = delivery;
      slots.set(
        subscriptionId,
        deliver(delivery, signal).finally(() => slots.delete(subscriptionId)),
      );
    }
    return claimed.length;
  };

  const webhooks: Webhooks = {
    start: async (signal) => (await startOf("healthy", signal)) + (await startOf("troubled", signal)),
    async run(signal) {
      while (!signal.aborted) {
        let started = 0;
        try {
          started = await webhooks.start(signal);
        } catch (error) {
          if (!signal.aborted) log.warn("webhooks could not be claimed", { error: OneDataError.from(error).message });
        }
        // A subscription with many messages gets the next one when this one is done, not at the next poll.
        const rested = new AbortController();
        const next = started > 0 ? Promise.race(inFlight.healthy.values()) : new Promise<void>(() => undefined);
        await Promise.race([sleep(POLL_MS, AbortSignal.any([signal, rested.signal])), next]);
        rested.abort();
      }
      await webhooks.settled();
    },
    async settled() {
      await Promise.all([...inFlight.healthy.values(), ...inFlight.troubled.values()]);
    },
    async test(tenantId, { id, by, signal }) {
      const delivery = await claimTestDelivery(sql, tenantId, { id, claim: randomUUID(), leaseMs, by });
      if (delivery === undefined) throw new OneDataError("subscription.not_found", "no such subscription; GET /v1/subscriptions lists them");
      const made = await attempt(delivery, signal);
      // A person waits for it: no further tries.
      await finishDelivery(sql, delivery, made.kind === "failed" ? { ...made, kind: "failed", retryInMs: undefined } : toOutcome(made, 1, 0));
      return delivery.notice.id;
    },
  };
  return webhooks;
}

const toOutcome = ({ kind, result }: Attempt, tries: number, random: number): DeliveryOutcome =>
  kind === "failed" ? { kind, result, retryInMs: retryInMs(tries, random) } : { kind, result };
