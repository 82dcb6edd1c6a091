/** Unary receive of the double: pull (acked message by message BEFORE the answer), peek (hides what it showed for a while), purge. */
import { ackAllRequest, ackAllResponse, type QueueMessage, receiveRequest, receiveResponse } from "../messages.ts";
import type { MessageOf } from "../wire.ts";
import { type Store, Texts } from "./store.ts";

const MAX_MESSAGES = 1024;
const MAX_WAIT_SECONDS = 3600;

type ReceiveRequest = MessageOf<typeof receiveRequest>;
type ReceiveResponse = MessageOf<typeof receiveResponse>;

export type Receiver = {
  readonly receive: (request: ReceiveRequest, signal: AbortSignal) => Promise<ReceiveResponse>;
  readonly ackAll: (request: MessageOf<typeof ackAllRequest>, signal: AbortSignal) => Promise<MessageOf<typeof ackAllResponse>>;
};

export function createReceiver(store: Store): Receiver {
  // One internal client per channel, behind a mutex: a deadlined call still holds its place in that line.
  const lines = new Map<string, Promise<unknown>>();
  const inLine = <T>(channel: string, work: () => Promise<T>): Promise<T> => {
    const turn = (lines.get(channel) ?? Promise.resolve()).then(work);
    lines.set(
      channel,
      turn.catch(() => undefined),
    );
    return turn;
  };
  const problem = (request: { clientId: string; channel: string; waitTimeSeconds: number }): string | undefined => {
    const queue = store.queueError(request.clientId, request.channel);
    return queue ?? (request.waitTimeSeconds < 0 || request.waitTimeSeconds > MAX_WAIT_SECONDS ? Texts.waitTimeout : undefined);
  };

  return {
    receive: (request, signal) =>
      inLine(request.channel, async () => {
        const answer = receiveResponse.of({ requestId: request.requestId, isPeak: request.isPeak });
        const badMax = request.maxNumberOfMessages < 1 || request.maxNumberOfMessages > MAX_MESSAGES ? Texts.maxMessages : undefined;
        const error = store.queueError(request.clientId, request.channel) ?? badMax ?? problem(request);
        if (error !== undefined) return { ...answer, isError: true, error };
        const messages: QueueMessage[] = [];
        let expired = 0;
        const waitMs = (request.waitTimeSeconds === 0 ? 1 : request.waitTimeSeconds) * 1000;
        await new Promise<void>((done) => {
          const member = store.queue(request.channel).subscribe(request.isPeak ? request.maxNumberOfMessages : 1, (stored) => {
            if (messages.length === request.maxNumberOfMessages) return;
            const message = store.toDeliver(stored);
            if (message === undefined) expired += 1;
            else messages.push(message);
            if (!request.isPeak || message === undefined) queueMicrotask(() => member.ack(stored.sequence));
            if (messages.length === request.maxNumberOfMessages) queueMicrotask(finish);
          });
          const timer = setTimeout(finish, waitMs);
          signal.addEventListener("abort", finish, { once: true });
          function finish(): void {
            clearTimeout(timer);
            signal.removeEventListener("abort", finish);
            if (request.isPeak) setTimeout(() => member.close(), waitMs + 1000).unref();
            else member.close();
            done();
          }
        });
        if (signal.aborted) return answer; // with zeroed counters: what was taken is gone
        return { ...answer, messages, messagesReceived: messages.length, messagesExpired: expired };
      }),

    ackAll: (request, signal) =>
      inLine(request.channel, async () => {
        const answer = ackAllResponse.of({ requestId: request.requestId });
        const error = problem(request);
        if (error !== undefined) return { ...answer, isError: true, error };
        let affected = 0n;
        const member = store.queue(request.channel).subscribe(1024, (stored) => {
          affected += 1n;
          queueMicrotask(() => member.ack(stored.sequence));
        });
        await new Promise<void>((done) => {
          const timer = setTimeout(done, (request.waitTimeSeconds === 0 ? 1 : request.waitTimeSeconds) * 1000);
          signal.addEventListener("abort", () => [clearTimeout(timer), done()], { once: true });
        });
        member.close();
        return { ...answer, affectedMessages: affected };
      }),
  };
}
