/**
 * Port `Broker`: carries small messages (packed pointers) between the relay and the engines.
 *
 * Postgres is the truth: leases, order, retries and dead letters live there. So a broker may lose, double, reorder or delay messages, and that costs latency only.
 * What it may not do is lose them silently: `epoch` changes whenever a message whose publish was reported ok, and that no settle took, may be gone.
 *
 * Non-duty: exactly-once, order, delays, dead-letter queues, filtering. No adapter may offer them, so nothing can come to lean on them.
 *
 * Invariants every adapter keeps (`itKeepsTheBrokerContract`):
 * 1. Nothing waits without an end: every call has a deadline of its own, whatever the server does (gone, frozen, half dead).
 * 2. Opening needs no server. A server that comes back is found again without help, with jittered backoff.
 * 3. `publish`, `health` and `settle` never reject for what the server does; `receive` and `depth` reject with `broker.unavailable`.
 * 4. Memory is bounded by the callers' own `max` and bodies: nothing is fetched ahead, nothing is queued for a server that is away.
 */
import { OneDataError } from "@onedata/core";

/** One body; a packed list of 256 pointers needs less than half of it. */
export const MAX_BODY_BYTES = 16 * 1024;
/** Most messages of one `receive`. */
export const MAX_RECEIVE = 256;
/** A delivery that is not settled by then goes back to the queue. */
export const SETTLE_WITHIN_MS = 10_000;

export interface Broker extends AsyncDisposable {
  /** For logs, metrics and `woken_by`: the scheme of its URL. */
  readonly kind: "kubemq" | "nats";
  /** How many receivers one channel bears. `one`: several are right too, but between them a message may go round for seconds; give each a channel of its own. */
  readonly receivers: "one" | "many";

  /**
   * Hands bodies to a channel; one result per body, in order. `ok` means the server has stored it. A failed one may arrive all the same (the answer was lost).
   * Throws only for an invalid channel name. Any number of bodies: they go out in requests of bounded size, one after the other.
   */
  publish(channel: string, bodies: readonly Uint8Array[], options?: PublishOptions): Promise<readonly PublishResult[]>;

  /**
   * Waits until something is there or `waitMs` is over (then the delivery is empty) or `signal` aborts (empty as well: aborting is not failing, and loses nothing).
   * One message is enough to return; of what waits already, several may come together, up to `max` (1 to MAX_RECEIVE): whoever got some asks again.
   * An empty answer may take up to a second longer than asked.
   * Any number of `receive` and open deliveries of one channel may stand side by side, in one process or many; each message goes to one of them.
   * Throws `broker.unavailable`. After a failure the next call first waits its backoff, so a plain loop around it is no hot loop.
   */
  receive(channel: string, options: ReceiveOptions): Promise<Delivery>;

  /** Throws `broker.unavailable`. A channel nobody used yet has zeros. */
  depth(channel: string): Promise<ChannelDepth>;

  health(): Promise<BrokerHealth>;

  /** Ends pending receives (they return empty) and gives open deliveries back. Every call after it fails as if the server were away. */
  [Symbol.asyncDispose](): Promise<void>;
}

export type PublishOptions = { /** Of each request (up to 1,000 bodies); 10 s if left out. */ readonly timeoutMs?: number };

export type PublishResult =
  | { readonly ok: true }
  /** `retryable: false`: this very body will never be taken (too large). */
  | { readonly ok: false; readonly reason: string; readonly retryable: boolean };

export type ReceiveOptions = { readonly max: number; readonly waitMs: number; readonly signal: AbortSignal };

export type BrokerMessage = {
  readonly body: Uint8Array;
  /** Grows along the channel while the epoch stays; a gap alone proves nothing (redelivery, other receivers). */
  readonly sequence: number;
};

export interface Delivery {
  readonly messages: readonly BrokerMessage[];
  /**
   * `ack`: the work is safe elsewhere, forget the messages. `nack`: give them back, for anyone, at once.
   * True when the server confirmed it; false when that is not known, and then the messages may come again. Never rejects. Only the first call counts.
   * Settle soon, after the claim and not after the work: messages that are not settled within SETTLE_WITHIN_MS go back.
   */
  settle(verdict: "ack" | "nack"): Promise<boolean>;
}

export type ChannelDepth = {
  /** Not yet acknowledged, deliveries that are open included. */
  readonly waiting: number;
  /** Of the newest message ever stored in the channel, 0 when there was none. Smaller than before = messages were lost. */
  readonly lastSequence: number;
};

export type BrokerHealth =
  /** `epoch` is opaque. Another one than before: the server restarted or lost its store; whatever was published and not claimed must be published again. */
  { readonly ok: true; readonly epoch: string; readonly server: string } | { readonly ok: false; readonly reason: string };

/**
 * The names that every broker takes as they are: dot-separated words of `a-z0-9-`, starting and ending with a letter or digit, at most 200 characters.
 * (KubeMQ makes directories of names and its QueuesInfo trims some characters from both ends; NATS makes subjects of them.)
 */
export function checkChannel(channel: string): void {
  if (channel.length > 200 || !/^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/.test(channel)) {
    throw new OneDataError(
      "internal",
      `broker: channel ${JSON.stringify(channel.slice(0, 80))} is not made of words of a-z, 0-9 and "-", separated by dots, at most 200 characters`,
    );
  }
}
