/** The bare contract, for the tests of the double's own behaviour: no cures, no adapter. */
import { Client, type ClientDuplexStream, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import {
  batchRequest,
  type DownstreamRequest,
  type DownstreamResponse,
  downstreamRequest,
  empty,
  kubemqService,
  type QueueMessage,
  queueMessage,
  queuesInfoRequest,
  receiveRequest,
} from "../messages.ts";

export type RawClient = ReturnType<typeof openRawClient>;

export const CLIENT_ID = "contract";

export function openRawClient(address: string) {
  const connection = new Client(address, credentials.createInsecure(), {
    "grpc.max_receive_message_length": 200 << 20,
    "grpc.use_local_subchannel_pool": 1,
  });

  function call<Q, R>(
    method: { readonly path: string; readonly requestSerialize: (value: Q) => Buffer; readonly responseDeserialize: (bytes: Uint8Array) => R },
    request: Q,
    timeoutMs = 20_000,
  ): Promise<R> & { cancel(): void } {
    let cancel = (): void => undefined;
    const answer = new Promise<R>((done, failed) => {
      const { path, requestSerialize, responseDeserialize } = method;
      const unary = connection.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        new Metadata(),
        { deadline: Date.now() + timeoutMs },
        (error: ServiceError | null, value) => (error === null && value !== undefined ? done(value) : failed(error)),
      );
      cancel = () => unary.cancel();
    });
    return Object.assign(answer, { cancel: () => cancel() });
  }

  const toMessage = (channel: string, part: Partial<QueueMessage> | string): QueueMessage =>
    queueMessage.of({ clientId: CLIENT_ID, channel, ...(typeof part === "string" ? { body: Buffer.from(part) } : part) });

  return {
    call,
    ping: () => call(kubemqService.ping, empty.of()),
    send: (channel: string, part: Partial<QueueMessage> | string) => call(kubemqService.sendQueueMessage, toMessage(channel, part)),
    sendAll: (channel: string, parts: readonly (Partial<QueueMessage> | string)[]) =>
      call(kubemqService.sendQueueMessagesBatch, batchRequest.of({ batchId: "b", messages: parts.map((part) => toMessage(channel, part)) })),
    pull: (channel: string, max: number, waitTimeSeconds: number, rest: { isPeak?: boolean; timeoutMs?: number; clientId?: string } = {}) =>
      call(
        kubemqService.receiveQueueMessages,
        receiveRequest.of({
          requestId: "r",
          clientId: rest.clientId ?? CLIENT_ID,
          channel,
          maxNumberOfMessages: max,
          waitTimeSeconds,
          isPeak: rest.isPeak ?? false,
        }),
        rest.timeoutMs,
      ),
    info: async (channel: string) => (await call(kubemqService.queuesInfo, queuesInfoRequest.of({ queueName: channel }))).info?.queues[0],
    openStream: () => openRawStream(connection),
    close: () => connection.close(),
  };
}

export type RawStream = {
  readonly call: ClientDuplexStream<DownstreamRequest, DownstreamResponse>;
  /** Sends and waits for the answer to this very request. */
  ask(part: Partial<DownstreamRequest>): Promise<DownstreamResponse>;
  send(part: Partial<DownstreamRequest>): string;
  readonly answers: readonly DownstreamResponse[];
};

function openRawStream(connection: Client): RawStream {
  const { path, requestSerialize, responseDeserialize } = kubemqService.queuesDownstream;
  const call = connection.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata(), {});
  const waiting = new Map<string, (answer: DownstreamResponse) => void>();
  const answers: DownstreamResponse[] = [];
  let requests = 0;
  call.on("error", () => undefined);
  call.on("data", (answer: DownstreamResponse) => {
    answers.push(answer);
    waiting.get(answer.refRequestId)?.(answer);
  });
  const send = (part: Partial<DownstreamRequest>): string => {
    requests += 1;
    const requestId = `r${requests}`;
    call.write(downstreamRequest.of({ requestId, clientId: CLIENT_ID, ...part }));
    return requestId;
  };
  return {
    call,
    answers,
    send,
    ask: (part) => {
      const requestId = send(part);
      return new Promise((done) => waiting.set(requestId, done));
    },
  };
}

export const bodiesOf = (messages: readonly QueueMessage[]): string[] => messages.map(({ body }) => Buffer.from(body).toString());
export const countsOf = (messages: readonly QueueMessage[]): number[] => messages.map(({ attributes }) => attributes?.receiveCount ?? 0);
