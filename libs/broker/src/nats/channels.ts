/**
 * Channels in JetStream: one work-queue stream with a subject and a durable pull consumer per channel. Made when first needed, and again when they have vanished
 * (a wiped store, a deleted stream). A message leaves the stream when it is acknowledged.
 * What is there is taken as it is: replicas, limits, placement are the operator's. Only what would lose messages or bring none is refused.
 */
import {
  AckPolicy,
  type ConsumerInfo,
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamManager,
  jetstreamManager,
  RetentionPolicy,
  StorageType,
  type StreamInfo,
} from "@nats-io/jetstream";
import type { NatsConnection } from "@nats-io/transport-node";
import { SETTLE_WITHIN_MS } from "../broker.ts";

export type Channels = {
  readonly manager: JetStreamManager;
  readonly stream: string;
  subject(channel: string): string;
  /** The consumer's name. Dots may not stand in names, and channels have no underscore. */
  consumer(channel: string): string;
  /** Throws when the one that is there cannot be used; the message says why and what to do. */
  ensureStream(): Promise<void>;
  /** The same. */
  ensureConsumer(channel: string): Promise<void>;
};

/** `replicas` are for a stream that is not there yet; undefined leaves them to the server. */
export type StreamChoice = { readonly stream: string; readonly replicas: number | undefined };

const CALL_TIMEOUT_MS = 3_000;
const MAX_ACK_PENDING = 100_000;

export async function openChannels(connection: NatsConnection, { stream, replicas }: StreamChoice): Promise<Channels> {
  const manager = await jetstreamManager(connection, { timeout: CALL_TIMEOUT_MS, checkAPI: false });
  const prefix = `${stream}.q`;
  const subject = (channel: string): string => `${prefix}.${channel}`;
  const consumer = (channel: string): string => channel.replaceAll(".", "_");

  // Two engines may both add: the same settings once more change nothing, and who fails for other ones finds the stream the next time.
  const ensureStream = async (): Promise<void> => {
    const found = await unlessMissing(manager.streams.info(stream), JetStreamApiCodes.StreamNotFound);
    if (found !== undefined) return checkStream(found, prefix);
    await manager.streams.add({
      name: stream,
      subjects: [`${prefix}.>`],
      retention: RetentionPolicy.Workqueue,
      storage: StorageType.File,
      ...(replicas === undefined ? {} : { num_replicas: replicas }),
    });
  };
  const ensureConsumer = async (channel: string): Promise<void> => {
    await ensureStream();
    const found = await unlessMissing(manager.consumers.info(stream, consumer(channel)), JetStreamApiCodes.ConsumerNotFound);
    if (found !== undefined) return checkConsumer(found, subject(channel));
    await manager.consumers.add(stream, {
      durable_name: consumer(channel),
      filter_subject: subject(channel),
      ack_policy: AckPolicy.Explicit,
      // A little longer than a delivery may stay open, so that here its own end comes first.
      ack_wait: (SETTLE_WITHIN_MS + 2_000) * 1_000_000,
      max_ack_pending: MAX_ACK_PENDING,
      max_deliver: -1,
    });
  };
  return { manager, stream, subject, consumer, ensureStream, ensureConsumer };
}

async function unlessMissing<T>(info: Promise<T>, missing: number): Promise<T | undefined> {
  try {
    return await info;
  } catch (error) {
    if (error instanceof JetStreamApiError && error.code === missing) return undefined;
    throw error;
  }
}

function checkStream({ config }: StreamInfo, prefix: string): void {
  const { name, subjects, retention } = config;
  const cure = "change it, delete it (engines make it anew), or name another with ?stream=";
  if (retention !== RetentionPolicy.Workqueue)
    throw new Error(`stream ${JSON.stringify(name)} has the retention ${JSON.stringify(retention)}, not "workqueue": ${cure}`);
  const isCovered = subjects.some((wide) => wide.endsWith(">") && `${prefix}.`.startsWith(wide.slice(0, -1)));
  if (!isCovered) throw new Error(`stream ${JSON.stringify(name)} has the subjects ${JSON.stringify(subjects)}, none is "${prefix}.>": ${cure}`);
}

function checkConsumer({ name, config }: ConsumerInfo, subject: string): void {
  const { ack_policy, deliver_subject, filter_subject } = config;
  if (ack_policy !== AckPolicy.Explicit || deliver_subject !== undefined || filter_subject !== subject)
    throw new Error(
      `consumer ${JSON.stringify(name)} is not a pull consumer of ${JSON.stringify(subject)} with explicit acknowledgement: delete it (engines make it anew)`,
    );
}
