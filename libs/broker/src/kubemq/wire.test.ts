import fc from "fast-check";
import generated from "kubemq-js/lib/protos/kubemq_pb.js";
import { expect, it } from "vitest";
import {
  batchRequest,
  downstreamRequest,
  downstreamResponse,
  queueMessage,
  queueMessageAttributes,
  queueMessagePolicy,
  queuesInfo,
  queuesInfoRequest,
  queuesInfoResponse,
} from "./messages.ts";

/** What is used here of the package's generated messages, which come without types. */
type Setter =
  | "setBatchid"
  | "addMessages"
  | "setMaxreceivecount"
  | "setExpirationseconds"
  | "setMessageid"
  | "setClientid"
  | "setChannel"
  | "setMetadata"
  | "setBody"
  | "setPolicy";
type Message = { serializeBinary(): Uint8Array } & { [setter in Setter]: (value: unknown) => void };
type Generated = { new (): Message; deserializeBinary(bytes: Uint8Array): Message };
const kubemqJs = generated as unknown as { readonly [name in "QueueMessagesBatchRequest" | "QueueMessagePolicy" | "QueueMessage"]: Generated };

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

// The bytes were made by another encoder from the vendor's kubemq.proto.
it("speaks the vendor's contract where kubemq-js does not know it", () => {
  const request = downstreamRequest.of({
    requestId: "r1",
    clientId: "c",
    type: 3,
    channel: "a.b",
    maxItems: 300,
    waitTimeoutMs: 1_000,
    autoAck: true,
    reQueueChannel: "q",
    sequenceRange: [1n, 300n],
    refTransactionId: "t",
  });
  const bytes = "0a02723112016318032203612e6228ac0230e80738014201714a0301ac02520174";
  expect(hex(downstreamRequest.encode(request))).toBe(bytes);
  expect(downstreamRequest.decode(Buffer.from(bytes, "hex"))).toEqual(request);

  // With a map at its end that is unknown here, and skipped.
  const answer = "0a0174120272311801221f0a016d1201631a03612e622a0201023a0e088180cc9fc2f0d6eb18100720012a02070830013a016540014a060a016b120176";
  expect(downstreamResponse.decode(Buffer.from(answer, "hex"))).toEqual(
    downstreamResponse.of({
      transactionId: "t",
      refRequestId: "r1",
      type: 1,
      messages: [
        queueMessage.of({
          messageId: "m",
          clientId: "c",
          channel: "a.b",
          body: Buffer.from([1, 2]),
          attributes: queueMessageAttributes.of({ timestamp: 1_790_000_000_000_000_001n, sequence: 7n, receiveCount: 1 }),
        }),
      ],
      activeOffsets: [7n, 8n],
      isError: true,
      error: "e",
      transactionComplete: true,
    }),
  );

  expect(hex(queuesInfoRequest.encode(queuesInfoRequest.of({ requestId: "r1", queueName: "a.b" })))).toBe("0a0272311203612e62");
  const info = "0a027231121f08011005180320022a150a03612e6210051809200128053005380340024801";
  const decoded = queuesInfoResponse.decode(Buffer.from(info, "hex"));
  expect(decoded.info).toMatchObject(queuesInfo.of({ totalQueues: 1, sent: 5n, delivered: 3n, waiting: 2n, queues: decoded.info?.queues ?? [] }));
  expect(decoded.info?.queues).toMatchObject([
    { name: "a.b", messages: 5n, bytes: 9n, firstSequence: 1n, lastSequence: 5n, waiting: 2n, subscribers: 1n },
  ]);
  expect(hex(queuesInfoResponse.encode(decoded))).toBe(info);
});

it("reads what kubemq-js writes, and writes what it reads", () => {
  const message = fc.record({
    messageId: fc.string(),
    clientId: fc.string(),
    channel: fc.string(),
    metadata: fc.string(),
    body: fc.uint8Array({ minLength: 1 }),
    policy: fc.record({ maxReceiveCount: fc.nat(1024), expirationSeconds: fc.nat(43_200) }),
  });
  fc.assert(
    fc.property(fc.array(message, { maxLength: 4 }), (messages) => {
      const theirs = new kubemqJs.QueueMessagesBatchRequest();
      theirs.setBatchid("b");
      for (const one of messages) {
        const policy = new kubemqJs.QueueMessagePolicy();
        policy.setMaxreceivecount(one.policy.maxReceiveCount);
        policy.setExpirationseconds(one.policy.expirationSeconds);
        const their = new kubemqJs.QueueMessage();
        their.setMessageid(one.messageId);
        their.setClientid(one.clientId);
        their.setChannel(one.channel);
        their.setMetadata(one.metadata);
        their.setBody(one.body);
        their.setPolicy(policy);
        theirs.addMessages(their);
      }
      const ours = batchRequest.of({
        batchId: "b",
        messages: messages.map((one) => queueMessage.of({ ...one, policy: queueMessagePolicy.of(one.policy) })),
      });
      const read = batchRequest.decode(theirs.serializeBinary());
      expect(hex(batchRequest.encode(read))).toBe(hex(batchRequest.encode(ours)));
      expect(read.messages.map(({ body, ...rest }) => ({ ...rest, body: hex(body) }))).toEqual(
        ours.messages.map(({ body, ...rest }) => ({ ...rest, body: hex(body) })),
      );
      expect(hex(kubemqJs.QueueMessagesBatchRequest.deserializeBinary(batchRequest.encode(ours)).serializeBinary())).toBe(
        hex(theirs.serializeBinary()),
      );
    }),
  );
});
