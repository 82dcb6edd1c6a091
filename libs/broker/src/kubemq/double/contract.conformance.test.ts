/**
 * How the real server behaves, as it was measured (community 2.4.0), golden result by golden result. The double must behave so; with KUBEMQ_ADDRESS the same tests
 * question a real server, and a difference there is news about that server.
 */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { queueMessagePolicy, RequestType } from "../messages.ts";
import { realKubemq } from "../real-server.ts";
import { bodiesOf, countsOf, openRawClient, type RawClient } from "./raw-client.ts";
import { openKubemqDouble } from "./server.ts";
import { Texts } from "./store.ts";

/** Less than any wait that was asked for and is not needed (10 s). */
const AT_ONCE_MS = 8_000;

const newQueue = (): string => `contract-${randomUUID().slice(0, 8)}x`;
const elapsed = async <T>(work: Promise<T>): Promise<[T, number]> => {
  const startMs = performance.now();
  return [await work, performance.now() - startMs];
};

function itBehavesAsMeasured(openServer: () => Promise<AsyncDisposable & { readonly address: string }>, isReal = false): void {
  let server: AsyncDisposable & { readonly address: string };
  let client: RawClient;
  beforeAll(async () => {
    server = await openServer();
    client = openRawClient(server.address);
  });
  afterAll(async () => {
    client.close();
    await server[Symbol.asyncDispose]();
  });

  describe("sending", () => {
    it("answers each item and leaves HaveErrors false when items fail validation", async () => {
      const answer = await client.sendAll(newQueue(), ["one", { body: new Uint8Array() }, { clientId: "", body: Buffer.from("x") }, "two"]);
      expect(answer.results.map(({ isError, error }) => (isError ? error : "ok"))).toEqual(["ok", Texts.empty, Texts.clientId, "ok"]);
      expect(answer.haveErrors).toBe(false);
    });

    it("refuses bad names in the result, with status OK", async () => {
      for (const bad of ["", "a b", "a*", "a>", "a."]) expect(await client.send(bad, "x")).toMatchObject({ isError: true, error: Texts.queueName });
      for (const bad of ["a/b", "a..b", ".a"]) expect(await client.send(bad, "x")).toMatchObject({ isError: true, error: Texts.publish });
    });

    it("fails an empty batch as a whole", async () => {
      await expect(client.sendAll(newQueue(), [])).rejects.toMatchObject({ code: 2, details: "empty messages batch" });
    });

    it("does not know the same message id again", async () => {
      const queue = newQueue();
      await client.sendAll(queue, [
        { messageId: "same", body: Buffer.from("1") },
        { messageId: "same", body: Buffer.from("2") },
      ]);
      expect(bodiesOf((await client.pull(queue, 2, 5)).messages)).toEqual(["1", "2"]);
    });

    it("has no channel management", async () => {
      const { kubemqService, request } = await import("../messages.ts");
      const query = request.of({
        requestId: "r",
        type: 2,
        clientId: "c",
        channel: "kubemq.cluster.internal.requests",
        metadata: "list-channels",
        timeoutMs: 500,
      });
      await expect(client.call(kubemqService.sendRequest, query)).rejects.toMatchObject({
        details: expect.stringContaining("Error 301"),
      });
    });
  });

  describe("pull", () => {
    it("returns at once with all it was asked for, first in first out, sequences from 1", async () => {
      const queue = newQueue();
      await client.sendAll(queue, ["a", "b", "c"]);
      const [answer, ms] = await elapsed(client.pull(queue, 3, 10));
      expect(ms).toBeLessThan(AT_ONCE_MS);
      expect(bodiesOf(answer.messages)).toEqual(["a", "b", "c"]);
      expect(answer.messages.map(({ attributes }) => attributes?.sequence)).toEqual([1n, 2n, 3n]);
      expect(answer.messagesReceived).toBe(3);
    });

    it("waits to the end for a short answer, and wait 0 means a second", async () => {
      const queue = newQueue();
      await client.sendAll(queue, ["a", "b"]);
      const [answer, ms] = await elapsed(client.pull(queue, 10, 0));
      expect(bodiesOf(answer.messages)).toEqual(["a", "b"]);
      expect(ms).toBeGreaterThan(950);
    });

    it("refuses bad limits in the answer", async () => {
      expect(await client.pull(newQueue(), 0, 1)).toMatchObject({ isError: true, error: Texts.maxMessages });
      expect(await client.pull(newQueue(), 1025, 1)).toMatchObject({ isError: true, error: Texts.maxMessages });
      expect(await client.pull(newQueue(), 1, 3601)).toMatchObject({ isError: true, error: Texts.waitTimeout });
      expect(await client.pull(newQueue(), 1, 1, { clientId: "" })).toMatchObject({ isError: true, error: Texts.clientId });
    });

    it("serves the pulls of one channel one after the other", async () => {
      const queue = newQueue();
      await client.pull(queue, 1, 1); // the first pulls of a channel may still get a client of the server's each
      const [, ms] = await elapsed(Promise.all([client.pull(queue, 1, 1), client.pull(queue, 1, 1), client.pull(queue, 1, 1)]));
      expect(ms).toBeGreaterThan(2_900);
    });

    it("loses what it took when the caller's deadline comes first", async () => {
      // The real server may not have begun to take when its caller gives up, or just answer in time: then nothing is lost, this time.
      for (let tries = 1; ; tries += 1) {
        const queue = newQueue();
        await client.sendAll(queue, ["a", "b", "c"]);
        const code: unknown = await client.pull(queue, 10, 3, { timeoutMs: 500 }).then(
          () => "answered",
          (error: { code?: unknown }) => error.code,
        );
        if (code === 4 && (await client.pull(queue, 10, 1)).messages.length === 0) break;
        expect(tries).toBeLessThan(isReal ? 10 : 1);
      }
    });

    it("hides what was peeked at, then shows it again", async () => {
      const queue = newQueue();
      await client.sendAll(queue, ["a"]);
      expect(bodiesOf((await client.pull(queue, 1, 1, { isPeak: true })).messages)).toEqual(["a"]);
      expect(bodiesOf((await client.pull(queue, 1, 10)).messages)).toEqual(["a"]);
    });
  });

  describe("QueuesDownstream", () => {
    const get = (channel: string, maxItems: number, waitTimeoutMs = 1_000) => ({ type: RequestType.get, channel, maxItems, waitTimeoutMs });

    it("delivers one item of an idle queue within milliseconds", async () => {
      const queue = newQueue();
      const stream = client.openStream();
      const asked = stream.ask(get(queue, 1, 10_000));
      await new Promise((done) => setTimeout(done, 300));
      const [, ms] = await elapsed(client.send(queue, "a").then(() => asked));
      expect(ms).toBeLessThan(AT_ONCE_MS);
      stream.call.cancel();
    });

    it("waits a second at least for a short answer", async () => {
      const queue = newQueue();
      await client.sendAll(queue, ["a"]);
      const stream = client.openStream();
      const [answer, ms] = await elapsed(stream.ask(get(queue, 10, 1)));
      expect(bodiesOf(answer.messages)).toEqual(["a"]);
      expect(ms).toBeGreaterThan(950);
      stream.call.cancel();
    });

    it("is silent when an ack works, and says so when it comes twice or for an unknown transaction", async () => {
      const queue = newQueue();
      await client.sendAll(queue, ["a"]);
      const stream = client.openStream();
      const { transactionId } = await stream.ask(get(queue, 1));
      stream.send({ type: RequestType.ackAll, refTransactionId: transactionId });
      const again = await stream.ask({ type: RequestType.ackAll, refTransactionId: transactionId });
      expect(again).toMatchObject({ isError: true, error: "cannot ack messages with closed response " });
      expect(stream.answers).toHaveLength(2);
      expect(await stream.ask({ type: RequestType.ackAll, refTransactionId: "no" })).toMatchObject({
        isError: true,
        error: "transaction is completed or transaction id not found",
      });
      expect(await stream.ask({ type: RequestType.activeOffsets, refTransactionId: transactionId })).toMatchObject({
        isError: true,
        error: "cannot get active offsets with closed response ",
      });
      stream.call.cancel();
    });

    it("serves the requests of a stream in turn: an ack behind a waiting Get waits for it", async () => {
      const [queue, idle] = [newQueue(), newQueue()];
      await client.sendAll(queue, ["a"]);
      const stream = client.openStream();
      const { transactionId } = await stream.ask(get(queue, 1));
      stream.send(get(idle, 1, 1_500));
      const [, ms] = await elapsed(stream.ask({ type: RequestType.activeOffsets, refTransactionId: transactionId }));
      expect(ms).toBeGreaterThan(1_300);
      stream.call.cancel();
    });

    it("gives back at once, unchanged, when the stream is cancelled, and not when it is half-closed", async () => {
      const queue = newQueue();
      await client.sendAll(queue, ["a", "b"]);
      const holder = client.openStream();
      await holder.ask(get(queue, 2));
      holder.call.end();
      expect((await client.pull(queue, 1, 1)).messages).toEqual([]);
      holder.call.cancel();
      const [answer, ms] = await elapsed(client.pull(queue, 2, 10));
      expect(ms).toBeLessThan(AT_ONCE_MS);
      expect(bodiesOf(answer.messages)).toEqual(["a", "b"]);
      expect(countsOf(answer.messages)).toEqual([1, 1]);
    });

    it("gives back when the client closes the transaction", async () => {
      const queue = newQueue();
      await client.sendAll(queue, ["a", "b"]);
      const stream = client.openStream();
      const { transactionId } = await stream.ask(get(queue, 2));
      stream.send({ type: RequestType.closeByClient, refTransactionId: transactionId });
      const answer = await stream.ask(get(queue, 2));
      expect(bodiesOf(answer.messages)).toEqual(["a", "b"]);
      expect(countsOf(answer.messages)).toEqual([1, 1]);
      stream.call.cancel();
    });

    it("steals: while a short answer is open, newer messages go to nobody", async () => {
      const queue = newQueue();
      await client.sendAll(queue, ["a", "b", "c"]);
      const stream = client.openStream();
      const { messages } = await stream.ask(get(queue, 10));
      expect(bodiesOf(messages)).toEqual(["a", "b", "c"]);
      await client.sendAll(queue, ["d", "e"]);
      expect((await client.pull(queue, 2, 1)).messages).toEqual([]);
      stream.call.cancel();
      expect((await client.pull(queue, 5, 10)).messages).toHaveLength(5);
    });

    it("puts what is nacked at the tail, with one more on its count", async () => {
      const queue = newQueue();
      await client.sendAll(queue, ["a", "b"]);
      const stream = client.openStream();
      const { transactionId, messages } = await stream.ask(get(queue, 1));
      expect(bodiesOf(messages)).toEqual(["a"]);
      stream.send({ type: RequestType.nackAll, refTransactionId: transactionId });
      const after = await stream.ask(get(queue, 2));
      expect(bodiesOf(after.messages)).toEqual(["b", "a"]);
      expect(countsOf(after.messages)).toEqual([1, 2]);
      stream.call.cancel();
    });

    it("acks and nacks ranges, and names what it does not hold", async () => {
      const queue = newQueue();
      await client.sendAll(queue, ["a", "b", "c"]);
      const stream = client.openStream();
      const { transactionId } = await stream.ask(get(queue, 3));
      stream.send({ type: RequestType.ackRange, refTransactionId: transactionId, sequenceRange: [1n] });
      const offsets = await stream.ask({ type: RequestType.activeOffsets, refTransactionId: transactionId });
      expect(offsets.activeOffsets.map(Number).sort((a, b) => a - b)).toEqual([2, 3]);
      expect(await stream.ask({ type: RequestType.ackRange, refTransactionId: transactionId, sequenceRange: [9n] })).toMatchObject({
        isError: true,
        error: "invalid ack sequence id 9",
      });
      expect(await stream.ask({ type: RequestType.nackRange, refTransactionId: transactionId })).toMatchObject({
        isError: true,
        error: "cannot nack empty list of of offsets",
      });
      stream.send({ type: RequestType.nackRange, refTransactionId: transactionId, sequenceRange: [2n, 3n] });
      expect(bodiesOf((await stream.ask(get(queue, 2))).messages)).toEqual(["b", "c"]);
      stream.call.cancel();
    });
  });

  describe("delivery policy", () => {
    const failTwice = async (queue: string): Promise<void> => {
      const stream = client.openStream();
      for (let i = 0; i < 2; i += 1) {
        const { transactionId, messages } = await stream.ask({ type: RequestType.get, channel: queue, maxItems: 1, waitTimeoutMs: 1_000 });
        expect(messages).toHaveLength(1);
        stream.send({ type: RequestType.nackAll, refTransactionId: transactionId });
      }
      await stream.ask({ type: RequestType.activeOffsets, refTransactionId: "none" });
      stream.call.cancel();
    };

    it("moves a message on after N deliveries, and drops it silently when no queue is named", async () => {
      const [queue, dead, dropping] = [newQueue(), newQueue(), newQueue()];
      await client.send(queue, { body: Buffer.from("a"), policy: queueMessagePolicy.of({ maxReceiveCount: 2, maxReceiveQueue: dead }) });
      await failTwice(queue);
      const moved = (await client.pull(dead, 1, 5)).messages[0];
      expect(moved?.attributes).toMatchObject({ reRouted: true, reRoutedFromQueue: queue });
      await client.send(dropping, { body: Buffer.from("a"), policy: queueMessagePolicy.of({ maxReceiveCount: 2 }) });
      await failTwice(dropping);
      expect((await client.pull(dropping, 1, 1)).messages).toEqual([]);
    });

    it("refuses limits beyond its own", async () => {
      const policy = queueMessagePolicy.of({ maxReceiveCount: 1025 });
      expect(await client.send(newQueue(), { body: Buffer.from("a"), policy })).toMatchObject({ isError: true, error: Texts.maxReceiveCount });
    });
  });

  describe("depth and purge", () => {
    it("counts what waits, open deliveries included, and keeps the last sequence", async () => {
      const queue = newQueue();
      await client.sendAll(queue, ["a", "b", "c"]);
      expect(await client.info(queue)).toMatchObject({ name: queue, messages: 3n, firstSequence: 1n, lastSequence: 3n, waiting: 3n });
      const stream = client.openStream();
      const { transactionId } = await stream.ask({ type: RequestType.get, channel: queue, maxItems: 2, waitTimeoutMs: 1_000 });
      expect(await client.info(queue)).toMatchObject({ waiting: 3n });
      stream.send({ type: RequestType.ackAll, refTransactionId: transactionId });
      await stream.ask({ type: RequestType.activeOffsets, refTransactionId: transactionId });
      expect(await client.info(queue)).toMatchObject({ waiting: 1n, lastSequence: 3n, messages: 3n });
      stream.call.cancel();
    });

    it("cuts some capitals from both ends of names it lists", async () => {
      const unique = randomUUID().slice(0, 6);
      await client.send(`S${unique}aSAL${unique}xES`, "a");
      expect(await client.info(`${unique}aSAL${unique}x`)).toMatchObject({ name: `${unique}aSAL${unique}x` });
    });

    it("purges for the whole wait", async () => {
      const { ackAllRequest, kubemqService } = await import("../messages.ts");
      const queue = newQueue();
      await client.sendAll(queue, ["a", "b"]);
      const [answer, ms] = await elapsed(
        client.call(kubemqService.ackAllQueueMessages, ackAllRequest.of({ clientId: "c", channel: queue, waitTimeSeconds: 1 })),
      );
      expect(answer).toMatchObject({ affectedMessages: 2n, isError: false });
      expect(ms).toBeGreaterThan(950);
    });
  });
}

describe("the double of KubeMQ", () => {
  itBehavesAsMeasured(() => openKubemqDouble());
});

const real = realKubemq("the golden behaviours");
describe.skipIf(real === undefined)("a real KubeMQ", () => {
  itBehavesAsMeasured(async () => ({ address: real ?? "", [Symbol.asyncDispose]: () => Promise.resolve() }), true);
});
