/**
 * One pull from a JetStream consumer, straight on its API (`$JS.API.CONSUMER.MSG.NEXT`): the package's `fetch` cannot ask for "what is there now" (`no_wait`).
 * A message that arrives after nobody waits for it any more is given back at once instead of after the server's ack wait.
 */
import { createInbox, type Msg, type NatsConnection } from "@nats-io/transport-node";

export type PullRequest = { readonly batch: number; readonly no_wait: true } | { readonly batch: number; readonly expiresMs: number };
export type Pulled =
  | { readonly kind: "messages"; readonly messages: readonly Msg[] }
  /** No such consumer or stream. */
  | { readonly kind: "missing" }
  /** The server said nothing at all. */
  | { readonly kind: "silence" };

const GRACE_MS = 3_000;
const STRAY_MS = 2_000;

export function pull(
  connection: NatsConnection,
  consumer: { readonly stream: string; readonly name: string },
  request: PullRequest,
  signal: AbortSignal,
): Promise<Pulled> {
  return new Promise((done, failed) => {
    const inbox = createInbox();
    const messages: Msg[] = [];
    let over = false;
    const waitMs = "expiresMs" in request ? request.expiresMs : 0;
    const stop = (): boolean => {
      if (over) return false;
      over = true;
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      return true;
    };
    const finish = (result: Pulled): void => {
      if (!stop()) return;
      if (result.kind === "messages" && messages.length === request.batch) subscription.unsubscribe();
      else setTimeout(() => subscription.unsubscribe(), waitMs + STRAY_MS).unref();
      done(result);
    };
    const onAbort = (): void => finish({ kind: "messages", messages });
    const subscription = connection.subscribe(inbox, {
      callback: (error, message) => {
        if (error !== null) return stop() ? failed(error) : undefined;
        const code = statusOf(message);
        if (over) {
          if (code === undefined) message.respond("-NAK");
          return undefined;
        }
        if (code === undefined) {
          messages.push(message);
          return messages.length === request.batch ? finish({ kind: "messages", messages }) : undefined;
        }
        // 404 nothing there, 408 wait over: the normal ends. 409 the consumer is gone or changed. 503 nobody serves this name.
        if (code === 100) return undefined;
        return finish(code === 503 || (code === 409 && messages.length === 0) ? { kind: "missing" } : { kind: "messages", messages });
      },
    });
    const timer = setTimeout(() => finish(messages.length > 0 ? { kind: "messages", messages } : { kind: "silence" }), waitMs + GRACE_MS);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) return onAbort();
    const body = "expiresMs" in request ? { batch: request.batch, expires: request.expiresMs * 1_000_000 } : { batch: request.batch, no_wait: true };
    connection.publish(`$JS.API.CONSUMER.MSG.NEXT.${consumer.stream}.${consumer.name}`, JSON.stringify(body), { reply: inbox });
    return undefined;
  });
}

/** The status of a message that is none: no body, a code in its header. */
function statusOf(message: Msg): number | undefined {
  const code = message.headers?.code ?? 0;
  return message.data.length === 0 && code > 0 ? code : undefined;
}

/** The stream's sequence of a delivered message, out of its reply subject `$JS.ACK...`. */
export function sequenceOf(message: Msg): number {
  const words = (message.reply ?? "").split(".");
  // $JS.ACK.<stream>.<consumer>.<delivered>.<sequence>...; newer servers put domain and account before the stream
  return Number(words[words.length >= 11 ? 7 : 5] ?? 0);
}
