/**
 * Receiving from one channel: streams are kept between uses, one Get at a time.
 *
 * How many to ask for: the server answers when it has ALL it was asked for or the wait (a second at least) is over, and while a short answer is open it keeps newer
 * messages from everyone. One is always right and comes within milliseconds; more is faster. So: a quarter of the fair share of what waits (QueuesInfo),
 * counting the other receivers, and one on a queue that is nearly empty. If others were quicker and the answer is short, back to one, then doubling with every full answer.
 */
import { performance } from "node:perf_hooks";
import { type BrokerMessage, type Delivery, MAX_RECEIVE, type ReceiveOptions, SETTLE_WITHIN_MS } from "../broker.ts";
import { createLine } from "../line.ts";
import type { DownstreamStream, Got } from "./stream.ts";

const MIN_WAIT_MS = 1_000;
const MAX_WAIT_MS = 5_000;
const CAUTION = 4;

export const NOTHING: Delivery = { messages: [], settle: () => Promise.resolve(true) };

export type ReceiverDeps = {
  openStream(): DownstreamStream;
  /** Messages that wait, open deliveries of all receivers included, and how many receivers there are. */
  look(): Promise<{ readonly waiting: number; readonly receivers: number }>;
};

export interface ChannelReceiver {
  receive(options: ReceiveOptions): Promise<Delivery>;
  close(): void;
}

export function createChannelReceiver(channel: string, deps: ReceiverDeps): ChannelReceiver {
  const line = createLine();
  const streams = new Set<DownstreamStream>();
  const idle: DownstreamStream[] = [];
  let ceiling = MAX_RECEIVE;
  let known = 0;
  let sharers = 1;
  let held = 0;

  function take(): DownstreamStream {
    for (let stream = idle.pop(); stream !== undefined; stream = idle.pop()) {
      if (stream.usable) return stream;
      drop(stream);
    }
    const stream = deps.openStream();
    streams.add(stream);
    return stream;
  }

  function drop(stream: DownstreamStream): void {
    stream.cancel();
    streams.delete(stream);
  }

  function giveBack(stream: DownstreamStream): void {
    if (stream.usable) idle.push(stream);
    else drop(stream);
  }

  async function get({ max, waitMs, signal }: ReceiveOptions, stream: DownstreamStream): Promise<Got> {
    if (known < 1 && max > 1) {
      const { waiting, receivers } = await deps.look();
      known = Math.max(0, waiting - held);
      sharers = receivers + 1;
    }
    const maxItems = Math.max(1, Math.min(max, ceiling, Math.floor(known / (CAUTION * sharers))));
    const longest = maxItems === 1 ? MAX_WAIT_MS : MIN_WAIT_MS;
    const got = await stream.get(channel, { maxItems, waitMs: Math.max(MIN_WAIT_MS, Math.min(longest, waitMs)), signal });
    if (got.messages.length < maxItems) {
      ceiling = 1;
      known = 0;
    } else {
      ceiling = Math.min(MAX_RECEIVE, ceiling * 2);
      known = Math.max(0, known - maxItems);
    }
    return got;
  }

  function deliver(stream: DownstreamStream, got: Got): Delivery {
    const messages = got.messages.map((message): BrokerMessage => ({ body: message.body, sequence: Number(message.attributes?.sequence ?? 0n) }));
    let open = true;
    held += messages.length;
    const finish = (): boolean => {
      if (!open) return false;
      open = false;
      held -= messages.length;
      clearTimeout(timer);
      return true;
    };
    const timer = setTimeout(() => {
      if (finish()) drop(stream);
    }, SETTLE_WITHIN_MS);
    timer.unref();
    return {
      messages,
      async settle(verdict) {
        if (!finish()) return false;
        const confirmed = await stream.settle(got.transactionId, verdict);
        giveBack(stream);
        return confirmed;
      },
    };
  }

  return {
    async receive(options) {
      const endMs = performance.now() + options.waitMs;
      const leave = await line.enter(options.waitMs, options.signal);
      if (leave === undefined) return NOTHING;
      const stream = take();
      try {
        for (let leftMs = options.waitMs; !options.signal.aborted; leftMs = endMs - performance.now()) {
          const got = await get({ ...options, waitMs: leftMs }, stream);
          if (got.messages.length > 0) return deliver(stream, got);
          if (performance.now() >= endMs) break;
        }
        giveBack(stream);
        return NOTHING;
      } catch (error) {
        drop(stream);
        known = 0;
        throw error;
      } finally {
        leave();
      }
    },
    close() {
      for (const stream of streams) stream.cancel();
      streams.clear();
      idle.length = 0;
    },
  };
}
