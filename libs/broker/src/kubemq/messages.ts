/**
 * The part of KubeMQ's contract that is used here: names and numbers of `kubemq.proto` (https://github.com/kubemq-io/protobuf, commit 07d6cd3, Apache-2.0).
 * `kubemq-js` 1.2.3 has no QueuesDownstream and no QueuesInfo; the double speaks all of it with these. Tags and partitions are left out: nobody sends them.
 */
import { bool, bytes, type Codec, int32, int64, type MessageOf, many, manyInt64, message, one, string } from "./wire.ts";

export const empty = message({});
export const pingResult = message({ host: string(1), version: string(2), serverStartTime: int64(3), serverUpTimeSeconds: int64(4) });

export const queueMessageAttributes = message({
  timestamp: int64(1),
  sequence: int64(2),
  md5OfBody: string(3),
  receiveCount: int32(4),
  reRouted: bool(5),
  reRoutedFromQueue: string(6),
  expirationAt: int64(7),
  delayedTo: int64(8),
});
export const queueMessagePolicy = message({
  expirationSeconds: int32(1),
  delaySeconds: int32(2),
  maxReceiveCount: int32(3),
  maxReceiveQueue: string(4),
});
export const queueMessage = message({
  messageId: string(1),
  clientId: string(2),
  channel: string(3),
  metadata: string(4),
  body: bytes(5),
  attributes: one(7, queueMessageAttributes),
  policy: one(8, queueMessagePolicy),
});
export type QueueMessage = MessageOf<typeof queueMessage>;

export const sendResult = message({
  messageId: string(1),
  sentAt: int64(2),
  expirationAt: int64(3),
  delayedTo: int64(4),
  isError: bool(5),
  error: string(6),
});
export type SendResult = MessageOf<typeof sendResult>;
export const batchRequest = message({ batchId: string(1), messages: many(2, queueMessage) });
export const batchResponse = message({ batchId: string(1), results: many(2, sendResult), haveErrors: bool(3) });

export const receiveRequest = message({
  requestId: string(1),
  clientId: string(2),
  channel: string(3),
  maxNumberOfMessages: int32(4),
  waitTimeSeconds: int32(5),
  isPeak: bool(6),
});
export const receiveResponse = message({
  requestId: string(1),
  messages: many(2, queueMessage),
  messagesReceived: int32(3),
  messagesExpired: int32(4),
  isPeak: bool(5),
  isError: bool(6),
  error: string(7),
});

export const ackAllRequest = message({ requestId: string(1), clientId: string(2), channel: string(3), waitTimeSeconds: int32(4) });
export const ackAllResponse = message({ requestId: string(1), affectedMessages: int64(2), isError: bool(3), error: string(4) });

export const RequestType = { get: 1, ackAll: 2, ackRange: 3, nackAll: 4, nackRange: 5, activeOffsets: 8, closeByClient: 10 } as const;
export const downstreamRequest = message({
  requestId: string(1),
  clientId: string(2),
  type: int32(3),
  channel: string(4),
  maxItems: int32(5),
  waitTimeoutMs: int32(6),
  autoAck: bool(7),
  reQueueChannel: string(8),
  sequenceRange: manyInt64(9),
  refTransactionId: string(10),
});
export type DownstreamRequest = MessageOf<typeof downstreamRequest>;
export const downstreamResponse = message({
  transactionId: string(1),
  refRequestId: string(2),
  type: int32(3),
  messages: many(4, queueMessage),
  activeOffsets: manyInt64(5),
  isError: bool(6),
  error: string(7),
  transactionComplete: bool(8),
});
export type DownstreamResponse = MessageOf<typeof downstreamResponse>;

export const queueInfo = message({
  name: string(1),
  messages: int64(2),
  bytes: int64(3),
  firstSequence: int64(4),
  lastSequence: int64(5),
  sent: int64(6),
  delivered: int64(7),
  waiting: int64(8),
  subscribers: int64(9),
});
export type QueueInfo = MessageOf<typeof queueInfo>;
export const queuesInfo = message({ totalQueues: int32(1), sent: int64(2), delivered: int64(3), waiting: int64(4), queues: many(5, queueInfo) });
export const queuesInfoRequest = message({ requestId: string(1), queueName: string(2) });
export const queuesInfoResponse = message({ refRequestId: string(1), info: one(2, queuesInfo) });

/** Only so far as to answer that channel management is not there. */
export const request = message({
  requestId: string(1),
  type: int32(2),
  clientId: string(3),
  channel: string(4),
  metadata: string(5),
  timeoutMs: int32(8),
});
export const response = message({ clientId: string(1), requestId: string(2) });

const method = <Q, R>(name: string, requests: Codec<Q>, responses: Codec<R>, streaming = false) => ({
  path: `/kubemq.kubemq/${name}`,
  requestStream: streaming,
  responseStream: streaming,
  requestSerialize: requests.encode,
  requestDeserialize: requests.decode,
  responseSerialize: responses.encode,
  responseDeserialize: responses.decode,
});

/** Package and service are both lower-case `kubemq`. */
export const kubemqService = {
  ping: method("Ping", empty, pingResult),
  sendQueueMessage: method("SendQueueMessage", queueMessage, sendResult),
  sendQueueMessagesBatch: method("SendQueueMessagesBatch", batchRequest, batchResponse),
  receiveQueueMessages: method("ReceiveQueueMessages", receiveRequest, receiveResponse),
  ackAllQueueMessages: method("AckAllQueueMessages", ackAllRequest, ackAllResponse),
  queuesDownstream: method("QueuesDownstream", downstreamRequest, downstreamResponse, true),
  queuesInfo: method("QueuesInfo", queuesInfoRequest, queuesInfoResponse),
  sendRequest: method("SendRequest", request, response),
} as const;
