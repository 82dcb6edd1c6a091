/**
 * Receives pointers while this engine has a free slot, and has each message trigger a claim.
 *
 * Invariants: a message is settled after its claim, whatever that found: Postgres is the truth, and a batch that was not taken is found by the end of a run or
 * the poll. An engine that cannot claim (slots taken, lease not fresh) receives nothing, so that others get it. One delivery is open at a time.
 */
import { type Broker, type BrokerMessage, decodePointers, type Pointer } from "@onedata/broker";
import { OneDataError } from "@onedata/core";
import { sleep } from "@onedata/mesh";
import type { EngineLog } from "../engine-log.ts";
import type { BrokerState } from "./broker-state.ts";

export type ReceiverPorts = {
  readonly broker: Broker;
  /** Of now: engines come and go. */
  readonly channel: () => string;
  readonly state: BrokerState;
  readonly log: EngineLog;
  /** Resolves when a claim could start a run, or when aborted. */
  readonly whenFree: (signal: AbortSignal) => Promise<void>;
  /** Resolves after a claim has preferred these batches; false = it will not, the engine stops. */
  readonly offer: (pointers: readonly Pointer[]) => Promise<boolean>;
  /** Each ends a call that waits: it may wait on a connection to a server that is no more. */
  readonly interrupts: Set<() => void>;
};

const WAIT_MS = 2_000;
/** After a failure: the sooner an answer comes, empty or not, the sooner the broker counts as up. */
const PROBE_MS = 100;
/** While messages wait one behind the other; an idle queue is asked for one, so that the answer comes with it. */
const MAX_MESSAGES = 16;
/** Between two failed calls, beside the adapter's own backoff. */
const PAUSE_MS = 100;

export async function receiveUntil(signal: AbortSignal, { broker, channel, state, log, whenFree, offer, interrupts }: ReceiverPorts): Promise<void> {
  for (let max = 1; ; ) {
    await whenFree(signal);
    if (signal.aborted) return;
    const call = new AbortController();
    const abort = (): void => call.abort();
    signal.addEventListener("abort", abort, { once: true });
    interrupts.add(abort);
    try {
      const delivery = await broker.receive(channel(), {
        max,
        waitMs: state.problemOf("receive") === undefined ? WAIT_MS : PROBE_MS,
        signal: call.signal,
      });
      if (!call.signal.aborted) state.works("receive");
      max = delivery.messages.length === max ? Math.min(2 * max, MAX_MESSAGES) : 1;
      if (delivery.messages.length === 0) continue;
      // Each message has a claim of its own: it carries what one claim takes, of one route.
      const claimed = await Promise.all(delivery.messages.map((message) => offer(read(message, log))));
      await delivery.settle(claimed.every(Boolean) ? "ack" : "nack");
    } catch (error) {
      state.fails("receive", OneDataError.from(error).message);
      await sleep(PAUSE_MS, signal);
    } finally {
      signal.removeEventListener("abort", abort);
      interrupts.delete(abort);
    }
  }
}

/** A message that cannot be read says at least that there is work. */
function read({ body }: BrokerMessage, log: EngineLog): readonly Pointer[] {
  try {
    return decodePointers(body);
  } catch (error) {
    log.warn("a broker message could not be read; it counts as a wake-up", { error });
    return [];
  }
}
