/**
 * One QueuesDownstream stream: strictly Get, settle, Get.
 * - A settle that worked is silent. So each is followed by a question about the same transaction (ActiveOffsets): requests of one stream are served in order, and a
 *   transaction that is closed says so. That is the confirmation.
 * - `nack` closes the transaction instead of the server's own nack: its own copies messages to the tail, out of order, and drops them after 1,024 times.
 * - Whatever goes wrong, the stream is cancelled: then the server gives back what is open. Half-close would not do that.
 * - The server keeps every transaction of a stream, with its messages, in memory until the stream ends: a stream is used up after 50 transactions or five minutes.
 */
import { randomUUID } from "node:crypto";
import type { ClientDuplexStream } from "@grpc/grpc-js";
import { reasonOf, unavailable } from "../unavailable.ts";
import { type DownstreamRequest, type DownstreamResponse, downstreamRequest, type QueueMessage, RequestType } from "./messages.ts";

const MAX_TRANSACTIONS = 50;
const MAX_AGE_MS = 300_000;

export type Got = { readonly transactionId: string; readonly messages: readonly QueueMessage[] };

export interface DownstreamStream {
  /** False: cancel it and open another. */
  readonly usable: boolean;
  /** No messages when the wait is over, or `signal` aborted. Throws `broker.unavailable`. */
  get(channel: string, options: { readonly maxItems: number; readonly waitMs: number; readonly signal: AbortSignal }): Promise<Got>;
  settle(transactionId: string, verdict: "ack" | "nack"): Promise<boolean>;
  cancel(): void;
}

export type StreamDeps = {
  readonly clientName: string;
  readonly patienceMs: number;
  readonly open: () => ClientDuplexStream<DownstreamRequest, DownstreamResponse>;
  /** The server did not answer in time. */
  readonly onSilence: () => void;
};

export function openDownstreamStream(deps: StreamDeps): DownstreamStream {
  const call = deps.open();
  const asked = new Map<string, { done(answer: DownstreamResponse): void; failed(error: Error): void }>();
  const bornMs = performance.now();
  let transactions = 0;
  let broken: Error | undefined;

  const breakWith = (error: Error): void => {
    broken ??= error;
    for (const question of asked.values()) question.failed(broken);
    asked.clear();
  };
  const cancel = (): void => {
    breakWith(unavailable("kubemq: the stream was given up"));
    call.cancel();
  };
  call.on("data", (answer: DownstreamResponse) => {
    asked.get(answer.refRequestId)?.done(answer);
    asked.delete(answer.refRequestId);
  });
  call.on("error", (error) => breakWith(unavailable(`kubemq: ${reasonOf(error)}`, error)));
  call.on("end", () => breakWith(unavailable("kubemq ended the stream")));

  const send = (part: Partial<DownstreamRequest>): string => {
    const requestId = randomUUID();
    call.write(downstreamRequest.of({ requestId, clientId: deps.clientName, ...part }));
    return requestId;
  };

  /** Undefined when `timeoutMs` is over or `signal` aborts; the stream is cancelled then. */
  async function ask(part: Partial<DownstreamRequest>, timeoutMs: number, signal?: AbortSignal): Promise<DownstreamResponse | undefined> {
    if (broken !== undefined) throw broken;
    if (signal?.aborted === true) return undefined;
    return await new Promise<DownstreamResponse | undefined>((done, failed) => {
      const requestId = send(part);
      const finish = (then: () => void): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        asked.delete(requestId);
        then();
      };
      const giveUp = (): void => {
        finish(() => done(undefined));
        cancel();
      };
      const onAbort = giveUp;
      const timer = setTimeout(() => {
        giveUp();
        deps.onSilence();
      }, timeoutMs);
      signal?.addEventListener("abort", onAbort, { once: true });
      asked.set(requestId, { done: (answer) => finish(() => done(answer)), failed: (error) => finish(() => failed(error)) });
    });
  }

  return {
    get usable() {
      return broken === undefined && transactions < MAX_TRANSACTIONS && performance.now() - bornMs < MAX_AGE_MS;
    },
    async get(channel, { maxItems, waitMs, signal }) {
      transactions += 1;
      const answer = await ask({ type: RequestType.get, channel, maxItems, waitTimeoutMs: waitMs }, waitMs + deps.patienceMs, signal);
      if (answer === undefined) {
        if (signal.aborted) return { transactionId: "", messages: [] };
        throw unavailable("kubemq does not answer");
      }
      if (answer.isError) {
        cancel();
        throw unavailable(`kubemq: ${answer.error}`);
      }
      return { transactionId: answer.transactionId, messages: answer.messages };
    },
    async settle(refTransactionId, verdict) {
      if (broken !== undefined) return false;
      let refused = false;
      const settleId = send({ type: verdict === "ack" ? RequestType.ackAll : RequestType.closeByClient, refTransactionId });
      asked.set(settleId, {
        done: () => {
          refused = true;
        },
        failed: () => undefined,
      });
      const answer = await ask({ type: RequestType.activeOffsets, refTransactionId }, deps.patienceMs).catch(() => undefined);
      asked.delete(settleId);
      const confirmed = !refused && answer !== undefined && answer.isError && answer.error.includes("closed response");
      if (!confirmed) cancel();
      return confirmed;
    },
    cancel,
  };
}
