/**
 * `kubemq://`: queues of KubeMQ.
 *
 * Publishing is `kubemq-js`' own batch. Receiving is QueuesDownstream, not the `pull` of `kubemq-js`: a pull is acknowledged by the server before its answer is sent, so a
 * cancelled call, a lost answer or a deadline loses messages for good, and nobody can tell; and it answers only when it has all it was asked for or whole seconds are over.
 * QueuesDownstream keeps messages until they are settled and gives them back when the stream breaks. `kubemq-js` does not know it, so its messages are in `messages.ts`.
 * Never used: tags, metadata, policies, delays, the server's nack and dead-letter queues, StreamQueueMessage. Each of them loses messages in some case.
 *
 * The epoch is host and start time of the server: it changes with every restart, harmless or not, because a restart is when a torn store, a full disk, a wipe or a power
 * loss shows. (The server flushes to disk once a minute by default: after a power loss acknowledged messages are gone.)
 */

import { createBackoff } from "../backoff.ts";
import { type Broker, checkChannel, MAX_RECEIVE, type PublishResult } from "../broker.ts";
import type { ServerAddress } from "../broker-url.ts";
import { linkSignals } from "../link-signals.ts";
import { splitBodies } from "../split-bodies.ts";
import { reasonOf, unavailable } from "../unavailable.ts";
import { KubemqClient } from "./client.ts";
import { type ChannelReceiver, createChannelReceiver, NOTHING } from "./receiver.ts";
import { openDownstreamStream } from "./stream.ts";

const PATIENCE_MS = 3_000;
const PUBLISH_TIMEOUT_MS = 10_000;
const CHUNK = { bodies: 1_000, bytes: 4 << 20 };

export type KubemqDeps = {
  readonly clientName: string;
  readonly random: () => number;
  /** How long a server may be silent beyond what it was asked to wait; tests shorten it. */
  readonly patienceMs?: number;
};

export function openKubemqBroker(address: ServerAddress, deps: KubemqDeps): Broker {
  const patienceMs = deps.patienceMs ?? PATIENCE_MS;
  const client = new KubemqClient(address, deps.clientName);
  const backoff = createBackoff({ firstMs: 100, maxMs: 3_000, random: deps.random });
  const receivers = new Map<string, ChannelReceiver>();
  const closing = new AbortController();
  const open = (): void => {
    if (closing.signal.aborted) throw unavailable("closed");
  };

  function receiverOf(channel: string): ChannelReceiver {
    const found = receivers.get(channel);
    if (found !== undefined) return found;
    const made = createChannelReceiver(channel, {
      openStream: () =>
        openDownstreamStream({ clientName: deps.clientName, patienceMs, open: () => client.openDownstream(), onSilence: () => client.renew() }),
      look: async () => {
        const info = await client.queueInfo(channel, patienceMs);
        return { waiting: Number(info?.waiting ?? 0n), receivers: Number(info?.subscribers ?? 0n) };
      },
    });
    receivers.set(channel, made);
    return made;
  }

  return {
    kind: "kubemq",
    receivers: "one",

    async publish(channel, bodies, options = {}) {
      checkChannel(channel);
      const results: PublishResult[] = [];
      let failure: string | undefined = closing.signal.aborted ? "closed" : undefined;
      const { chunks, refused } = splitBodies(bodies, CHUNK);
      for (const [n, reason] of refused) results[n] = { ok: false, reason, retryable: false };
      for (const chunk of chunks) {
        let errors: readonly (string | undefined)[] = [];
        try {
          if (failure === undefined) {
            errors = await client.sendAll(
              channel,
              chunk.map(({ body }) => body),
              options.timeoutMs ?? PUBLISH_TIMEOUT_MS,
            );
          }
        } catch (error) {
          failure = reasonOf(error); // the rest would meet the same
        }
        for (const [at, { n }] of chunk.entries()) {
          const reason = failure ?? errors[at];
          results[n] = reason === undefined ? { ok: true } : { ok: false, reason, retryable: true };
        }
      }
      return results;
    },

    async receive(channel, options) {
      checkChannel(channel);
      open();
      const { signal, unlink } = linkSignals(options.signal, closing.signal);
      try {
        await backoff.due(signal);
        if (signal.aborted) return NOTHING;
        const delivery = await receiverOf(channel).receive({ ...options, max: Math.min(options.max, MAX_RECEIVE), signal });
        backoff.succeeded();
        return delivery;
      } catch (error) {
        if (signal.aborted) return NOTHING;
        backoff.failed();
        throw error;
      } finally {
        unlink();
      }
    },

    async depth(channel) {
      checkChannel(channel);
      open();
      const info = await client.queueInfo(channel, patienceMs);
      return { waiting: Number(info?.waiting ?? 0n), lastSequence: Number(info?.lastSequence ?? 0n) };
    },

    async health() {
      if (closing.signal.aborted) return { ok: false, reason: "closed" };
      try {
        const { host, version, serverStartTime } = await client.pingServer(patienceMs);
        return { ok: true, epoch: `${host}@${serverStartTime}`, server: `kubemq ${version}` };
      } catch (error) {
        return { ok: false, reason: reasonOf(error) };
      }
    },

    async [Symbol.asyncDispose]() {
      closing.abort();
      for (const receiver of receivers.values()) receiver.close();
      client.close();
      await Promise.resolve();
    },
  };
}
