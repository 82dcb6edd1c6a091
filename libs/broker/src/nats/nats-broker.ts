/**
 * `nats://`: a work-queue stream of NATS JetStream, on the official packages.
 *
 * The epoch is the server's id (new with every start) and the stream's birthday (new after a wipe). A server that restarts may have lost its newest messages: it writes
 * before it answers, but flushes to disk every two minutes unless told otherwise. In a cluster a change of the server one is connected to changes the epoch too; that
 * costs a second publish of what is waiting, nothing else.
 */
import type { Msg, NatsConnection } from "@nats-io/transport-node";
import { type Broker, type BrokerMessage, checkChannel, type Delivery, MAX_RECEIVE, type PublishResult, SETTLE_WITHIN_MS } from "../broker.ts";
import { linkSignals } from "../link-signals.ts";
import { splitBodies } from "../split-bodies.ts";
import { reasonOf, unavailable } from "../unavailable.ts";
import { type Channels, openChannels } from "./channels.ts";
import { createConnection, type NatsAddress } from "./connection.ts";
import { publishAll } from "./publish.ts";
import { pull, sequenceOf } from "./pull.ts";

const PUBLISH_TIMEOUT_MS = 10_000;
const SETTLE_TIMEOUT_MS = 3_000;
const MAX_WAIT_MS = 5_000;
/** All of a chunk are on the way at once. */
const CHUNK = { bodies: 1_000, bytes: 4 << 20 };
const NOTHING: Delivery = { messages: [], settle: () => Promise.resolve(true) };

export function openNatsBroker(address: NatsAddress, deps: { readonly clientName: string; readonly random: () => number }): Broker {
  const connection = createConnection(address, deps);
  const known = new WeakMap<NatsConnection, { readonly channels: Promise<Channels>; readonly consumers: Map<string, Promise<void>> }>();
  const open = new Set<() => void>();
  const closing = new AbortController();

  async function session() {
    const nats = await connection.get();
    const found = known.get(nats) ?? { channels: ready(nats), consumers: new Map<string, Promise<void>>() };
    known.set(nats, found);
    return { nats, channels: await found.channels, consumers: found.consumers };
  }

  async function ready(nats: NatsConnection): Promise<Channels> {
    const channels = await openChannels(nats, address);
    await channels.ensureStream();
    return channels;
  }

  /** Runs `work`; what the server does wrong becomes `broker.unavailable`, and a connection that is silent or has forgotten our stream is given up. */
  async function attempt<T>(work: (own: Awaited<ReturnType<typeof session>>) => Promise<T>): Promise<T> {
    if (closing.signal.aborted) throw unavailable("closed");
    const nats = await connection.get();
    try {
      const result = await work(await session());
      connection.worked();
      return result;
    } catch (error) {
      connection.giveUp(nats, reasonOf(error));
      throw unavailable(`nats: ${reasonOf(error)}`, error);
    }
  }

  const consumerReady = async (own: Awaited<ReturnType<typeof session>>, channel: string): Promise<void> => {
    const found = own.consumers.get(channel) ?? own.channels.ensureConsumer(channel);
    own.consumers.set(channel, found);
    await found;
  };

  async function receiveOnce(channel: string, max: number, waitMs: number, signal: AbortSignal): Promise<Delivery> {
    return await attempt(async (own) => {
      await consumerReady(own, channel);
      const consumer = { stream: address.stream, name: own.channels.consumer(channel) };
      let pulled = await pull(own.nats, consumer, { batch: max, no_wait: true }, signal);
      if (pulled.kind === "messages" && pulled.messages.length === 0 && waitMs > 0 && !signal.aborted) {
        pulled = await pull(own.nats, consumer, { batch: 1, expiresMs: Math.max(100, Math.ceil(waitMs)) }, signal);
      }
      if (pulled.kind === "silence") throw new Error("the server does not answer");
      if (pulled.kind === "missing") throw new Error("the stream has vanished");
      return pulled.messages.length === 0 ? NOTHING : deliver(own.nats, pulled.messages);
    });
  }

  function deliver(nats: NatsConnection, messages: readonly Msg[]): Delivery {
    let settled = false;
    const finish = (): boolean => {
      if (settled) return false;
      settled = true;
      clearTimeout(timer);
      open.delete(giveBack);
      return true;
    };
    const giveBack = (): void => {
      if (finish() && !nats.isClosed()) for (const message of messages) message.respond("-NAK");
    };
    const timer = setTimeout(giveBack, SETTLE_WITHIN_MS);
    timer.unref();
    open.add(giveBack);
    return {
      messages: messages.map((message): BrokerMessage => ({ body: message.data, sequence: sequenceOf(message) })),
      async settle(verdict) {
        if (!finish() || nats.isClosed()) return false;
        const word = verdict === "ack" ? "+ACK" : "-NAK";
        const last = messages.at(-1);
        try {
          for (const message of messages) if (message !== last) message.respond(word);
          // The server answers an acknowledgement that asks for it; those before it on this connection were served before it.
          await nats.request(last?.reply ?? "", word, { timeout: SETTLE_TIMEOUT_MS });
          return true;
        } catch (error) {
          connection.giveUp(nats, reasonOf(error));
          return false;
        }
      },
    };
  }

  return {
    kind: "nats",
    receivers: "many",

    async publish(channel, bodies, options = {}) {
      checkChannel(channel);
      const results: PublishResult[] = [];
      const { chunks, refused } = splitBodies(bodies, CHUNK);
      for (const [n, reason] of refused) results[n] = { ok: false, reason, retryable: false };
      let failure: string | undefined;
      for (const chunk of chunks) {
        const outcome =
          failure === undefined
            ? await attempt(async ({ nats, channels }) => {
                const reasons = await publishAll(
                  nats,
                  channels.subject(channel),
                  chunk.map(({ body }) => body),
                  options.timeoutMs ?? PUBLISH_TIMEOUT_MS,
                );
                // All failed: then it was not the messages.
                if (reasons.every((reason) => reason !== undefined)) throw new Error(reasons[0]);
                return reasons;
              }).catch((error: unknown) => {
                failure = reasonOf(error);
                return undefined;
              })
            : undefined;
        for (const [at, { n }] of chunk.entries()) {
          const reason = failure ?? outcome?.[at];
          results[n] = reason === undefined ? { ok: true } : { ok: false, reason, retryable: true };
        }
      }
      return results;
    },

    async receive(channel, options) {
      checkChannel(channel);
      if (closing.signal.aborted) throw unavailable("closed");
      const { signal, unlink } = linkSignals(options.signal, closing.signal);
      const endMs = performance.now() + options.waitMs;
      const max = Math.max(1, Math.min(options.max, MAX_RECEIVE));
      try {
        await connection.due(signal);
        for (;;) {
          if (signal.aborted) return NOTHING;
          const leftMs = Math.min(MAX_WAIT_MS, endMs - performance.now());
          const delivery = await receiveOnce(channel, max, leftMs, signal);
          if (delivery.messages.length > 0 || performance.now() >= endMs) return delivery;
        }
      } catch (error) {
        if (signal.aborted) return NOTHING;
        throw error;
      } finally {
        unlink();
      }
    },

    async depth(channel) {
      checkChannel(channel);
      return await attempt(async (own) => {
        await consumerReady(own, channel);
        const { manager, stream } = own.channels;
        const [consumer, info] = await Promise.all([manager.consumers.info(stream, own.channels.consumer(channel)), manager.streams.info(stream)]);
        return { waiting: consumer.num_pending + consumer.num_ack_pending, lastSequence: info.state.last_seq };
      });
    },

    async health() {
      try {
        return await attempt(async ({ nats, channels }) => {
          const { created } = await channels.manager.streams.info(channels.stream);
          return { ok: true as const, epoch: `${nats.info?.server_id ?? ""}@${created}`, server: `nats ${nats.info?.version ?? ""}` };
        });
      } catch (error) {
        return { ok: false, reason: reasonOf(error) };
      }
    },

    async [Symbol.asyncDispose]() {
      if (closing.signal.aborted) return;
      closing.abort();
      for (const giveBack of open) giveBack();
      await connection.close();
    },
  };
}
