/**
 * QueuesDownstream of the double: transactions on one stream, requests strictly one after the other.
 * As the real server: success of a settle is silent, only failures are answered; a transaction that came back short keeps taking (and hiding) newer messages until it
 * closes; half-close is ignored; a cancelled stream gives everything back, but only when the Get it was in has ended.
 */
import { randomUUID } from "node:crypto";
import { type DownstreamRequest, type DownstreamResponse, downstreamResponse, RequestType } from "../messages.ts";
import type { Member, Stored } from "./queue.ts";
import type { Store } from "./store.ts";

const MIN_WAIT_MS = 1000;
const MAX_ITEMS = 200_000;

export type Downstream = {
  /** The answer, if this request has one. */
  handle(request: DownstreamRequest): Promise<DownstreamResponse | undefined>;
  /** The client is gone. */
  close(): void;
};

type Transaction = { readonly id: string; readonly member: Member; readonly unacked: Map<number, Stored>; done: boolean };

export function createDownstream(store: Store): Downstream {
  const transactions = new Map<string, Transaction>();
  let turn: Promise<unknown> = Promise.resolve();

  async function get(request: DownstreamRequest): Promise<DownstreamResponse> {
    const id = randomUUID();
    const answer = downstreamResponse.of({ transactionId: id, refRequestId: request.requestId, type: RequestType.get });
    const error = store.queueError(request.clientId, request.channel);
    if (error !== undefined) return { ...answer, isError: true, error };
    const maxItems = request.maxItems <= 0 ? MAX_ITEMS : request.maxItems;
    const unacked = new Map<number, Stored>();
    let accepts = true;
    const member = await new Promise<Member>((done) => {
      const own = store.queue(request.channel).subscribe(maxItems, (stored) => {
        if (!accepts) return; // stays with this member, shown to nobody
        unacked.set(stored.sequence, stored);
        if (unacked.size >= maxItems) finish();
      });
      const timer = setTimeout(finish, Math.max(MIN_WAIT_MS, request.waitTimeoutMs));
      function finish(): void {
        accepts = false;
        clearTimeout(timer);
        done(own);
      }
    });
    const transaction: Transaction = { id, member, unacked, done: false };
    transactions.set(id, transaction);
    if (unacked.size === 0) {
      finish(transaction);
      return answer;
    }
    for (const stored of unacked.values()) {
      const message = store.toDeliver(stored);
      if (message !== undefined) {
        answer.messages.push(message);
        continue;
      }
      member.ack(stored.sequence);
      unacked.delete(stored.sequence);
    }
    if (request.autoAck) settle(transaction, [...unacked.keys()], false);
    return answer;
  }

  function settle(transaction: Transaction, sequences: readonly number[], asCopies: boolean): void {
    for (const sequence of sequences) {
      const stored = transaction.unacked.get(sequence);
      if (stored === undefined) continue;
      if (asCopies) store.resend(stored);
      transaction.member.ack(sequence);
      transaction.unacked.delete(sequence);
    }
    if (transaction.unacked.size === 0) finish(transaction);
  }

  function finish(transaction: Transaction): void {
    transaction.done = true;
    transaction.member.close();
  }

  function settleRequest(transaction: Transaction, request: DownstreamRequest): string | undefined {
    const nack = request.type === RequestType.nackAll || request.type === RequestType.nackRange;
    const all = request.type === RequestType.ackAll || request.type === RequestType.nackAll;
    const verb = nack ? "nack" : "ack";
    if (transaction.done) return `cannot ${verb} messages with closed response `;
    if (all) {
      settle(transaction, nack ? [...transaction.unacked.keys()].reverse() : [...transaction.unacked.keys()], nack);
      return undefined;
    }
    if (request.sequenceRange.length === 0) return `cannot ${verb} empty list of of offsets`;
    for (const sequence of request.sequenceRange) {
      if (!transaction.unacked.has(Number(sequence))) return `invalid ${verb} sequence id ${sequence}`;
      settle(transaction, [Number(sequence)], nack);
    }
    return undefined;
  }

  async function handle(request: DownstreamRequest): Promise<DownstreamResponse | undefined> {
    if (request.type === RequestType.get) return await get(request);
    const answer = downstreamResponse.of({ transactionId: request.refTransactionId, refRequestId: request.requestId, type: request.type });
    const failed = (error: string): DownstreamResponse => ({ ...answer, isError: true, error });
    const transaction = transactions.get(request.refTransactionId);
    if (transaction === undefined) return failed("transaction is completed or transaction id not found");
    switch (request.type) {
      case RequestType.ackAll:
      case RequestType.ackRange:
      case RequestType.nackAll:
      case RequestType.nackRange: {
        const error = settleRequest(transaction, request);
        return error === undefined ? undefined : failed(error);
      }
      case RequestType.closeByClient:
        finish(transaction);
        return undefined;
      case RequestType.activeOffsets:
        if (transaction.done) return failed("cannot get active offsets with closed response ");
        return { ...answer, activeOffsets: [...transaction.unacked.keys()].map(BigInt) };
      default:
        return { ...failed("request unknown"), type: 0 };
    }
  }

  return {
    handle(request) {
      const answer = turn.then(() => handle(request));
      turn = answer.catch(() => undefined);
      return answer;
    },
    close() {
      turn = turn.then(() => {
        for (const transaction of transactions.values()) finish(transaction);
        transactions.clear();
      });
    },
  };
}
