/** All queues of the double: what is accepted, with which error texts; delivery policy; retention; depth. */
import { createHash, randomUUID } from "node:crypto";
import {
  type QueueInfo,
  type QueueMessage,
  queueInfo,
  queueMessage,
  queueMessageAttributes,
  queueMessagePolicy,
  type SendResult,
  sendResult,
} from "../messages.ts";
import type { Journal } from "./journal.ts";
import { createQueue, type Queue, type Stored } from "./queue.ts";

export const Texts = {
  clientId: "Error 101: invalid clientID value, cannot be empty",
  empty: "Error 110: invalid message, cannot be empty",
  queueName: "Error 120: invalid queue name value, cannot be empty, contains wildcards ,white spaces and end with dot",
  maxMessages: "Error 122: max messages should be between 1 and max message setting in kubemq config  ",
  expiration: "Error 133: invalid expiration seconds, exceed max expiration seconds setting in kubemq config",
  maxReceiveCount: "Error 134: invalid max received count, cannot be negative or exceed max receive count setting in kubemq config",
  waitTimeout: "Error 136: invalid wait timeout, value cannot be negative or exceed max wait timeout seconds setting in kubemq config",
  publish: "stan: invalid publish request",
} as const;

const MAX_RECEIVE_COUNT = 1024;
const MAX_SECONDS = 43_200;

export type StoreOptions = {
  readonly now: () => number;
  /** Minutes; 0 = unlimited. The real defaults are a day each, and both delete what nobody has read. */
  readonly retentionMinutes: number;
  readonly purgeInactiveMinutes: number;
  /** Written before a send is answered, read when the store is made. */
  readonly journal?: Journal;
};

export interface Store {
  queue(name: string): Queue;
  /** Validates, then appends `copies` times. */
  send(message: QueueMessage, copies?: number): SendResult;
  /** The result without the append, for validation first. */
  check(message: QueueMessage): SendResult;
  /** The message as delivered, or undefined when it is expired or was delivered too often (then it is dropped or moved on). */
  toDeliver(stored: Stored): QueueMessage | undefined;
  /** A copy at the tail with one more delivery on its count, unless that was one too many. */
  resend(stored: Stored): void;
  infos(filter: string): readonly QueueInfo[];
  queueError(clientId: string, channel: string): string | undefined;
  loseLast(count: number): void;
  closeMembers(): void;
}

export function createStore(options: StoreOptions): Store {
  const queues = new Map<string, Queue>();
  const queueNamed = (name: string): Queue => {
    const found = queues.get(name) ?? createQueue((sequence) => options.journal?.acked(name, sequence));
    queues.set(name, found);
    return found;
  };

  function age(): void {
    const now = options.now();
    for (const [name, queue] of queues) {
      if (options.retentionMinutes > 0) queue.expire(now - options.retentionMinutes * 60_000);
      const idle = queue.figures.members === 0 && now - queue.lastActivityMs > options.purgeInactiveMinutes * 60_000;
      if (options.purgeInactiveMinutes > 0 && idle) queues.delete(name);
    }
  }

  const queueError = (clientId: string, channel: string): string | undefined => {
    if (clientId === "") return Texts.clientId;
    return channel === "" || /[ *>]|\.$/.test(channel) ? Texts.queueName : undefined;
  };

  function errorOf(message: QueueMessage): string | undefined {
    const policy = message.policy ?? queueMessagePolicy.of();
    const name = queueError(message.clientId, message.channel);
    if (name !== undefined) return name;
    if (message.metadata === "" && message.body.length === 0) return Texts.empty;
    if (policy.expirationSeconds < 0 || policy.expirationSeconds > MAX_SECONDS) return Texts.expiration;
    if (policy.maxReceiveCount < 0 || policy.maxReceiveCount > MAX_RECEIVE_COUNT) return Texts.maxReceiveCount;
    if (policy.delaySeconds !== 0) return "the double has no delayed messages";
    return /\/|\.\.|^\./.test(message.channel) ? Texts.publish : undefined;
  }

  function append(message: QueueMessage): void {
    const atMs = options.now();
    options.journal?.appended(message, atMs);
    queueNamed(message.channel).append(message, atMs);
  }

  /** True: deliver. False: dropped, or moved to the queue its policy names. */
  function keepsPolicy(message: QueueMessage, receiveCount: number): boolean {
    const policy = message.policy ?? queueMessagePolicy.of();
    if (policy.maxReceiveCount <= 0 || receiveCount <= policy.maxReceiveCount) return true;
    if (policy.maxReceiveQueue === "") return false;
    append({
      ...message,
      channel: policy.maxReceiveQueue,
      policy: queueMessagePolicy.of(),
      attributes: queueMessageAttributes.of({ ...message.attributes, receiveCount: 0, reRouted: true, reRoutedFromQueue: message.channel }),
    });
    return false;
  }

  options.journal?.replay({
    appended: (message, atMs) => queueNamed(message.channel).append(message, atMs),
    acked: (channel, sequence) => queueNamed(channel).forget(sequence),
  });

  const store: Store = {
    queue(name) {
      age();
      return queueNamed(name);
    },
    check(message) {
      const error = errorOf(message);
      const result = sendResult.of({ messageId: message.messageId === "" ? randomUUID() : message.messageId });
      return error === undefined ? result : { ...result, isError: true, error };
    },
    send(message, copies = 1) {
      age();
      const result = store.check(message);
      if (result.isError) return result;
      const sentAt = BigInt(options.now()) * 1_000_000n;
      const policy = message.policy ?? queueMessagePolicy.of();
      const expirationAt = policy.expirationSeconds > 0 ? sentAt + BigInt(policy.expirationSeconds) * 1_000_000_000n : 0n;
      const stored = queueMessage.of({
        ...message,
        messageId: result.messageId,
        policy: { ...policy, maxReceiveCount: policy.maxReceiveCount === 0 ? MAX_RECEIVE_COUNT : policy.maxReceiveCount },
        attributes: queueMessageAttributes.of({ expirationAt }),
      });
      for (let i = 0; i < copies; i += 1) append(stored);
      return { ...result, sentAt, expirationAt };
    },
    toDeliver(stored) {
      const attributes = stored.message.attributes ?? queueMessageAttributes.of();
      if (attributes.expirationAt > 0n && attributes.expirationAt < BigInt(options.now()) * 1_000_000n) return undefined;
      const receiveCount = attributes.receiveCount + 1;
      if (!keepsPolicy(stored.message, receiveCount)) return undefined;
      return {
        ...stored.message,
        attributes: {
          ...attributes,
          receiveCount,
          timestamp: BigInt(stored.atMs) * 1_000_000n,
          sequence: BigInt(stored.sequence),
          md5OfBody: createHash("md5").update(stored.message.body).digest("hex"),
        },
      };
    },
    resend(stored) {
      const attributes = stored.message.attributes ?? queueMessageAttributes.of();
      const receiveCount = attributes.receiveCount + 1;
      if (keepsPolicy(stored.message, receiveCount + 1)) append({ ...stored.message, attributes: { ...attributes, receiveCount } });
    },
    infos(filter) {
      age();
      const infos = [...queues].map(([name, queue]) => toInfo(name, queue));
      const wanted = filter.split(";");
      return infos.filter((info) => info.firstSequence <= info.lastSequence && (filter === "" || wanted.includes(info.name)));
    },
    queueError,
    loseLast(count) {
      for (const queue of queues.values()) queue.loseLast(count);
    },
    closeMembers() {
      for (const queue of queues.values()) queue.closeMembers();
    },
  };
  return store;
}

/** The real server means to cut the prefix `_QUEUES_.` and cuts these characters from both ends: SALES is listed as AL. */
export const mangled = (name: string): string => name.replace(/^[_QUES.]+/, "").replace(/[_QUES.]+$/, "");

function toInfo(name: string, queue: Queue): QueueInfo {
  const { first, last, delivered, waiting, members } = queue.figures;
  const count = BigInt(last - first + 1);
  return queueInfo.of({
    name: mangled(name),
    messages: count,
    firstSequence: BigInt(first),
    lastSequence: BigInt(last),
    sent: count,
    delivered: BigInt(delivered),
    waiting: BigInt(waiting),
    subscribers: BigInt(members),
  });
}
