/**
 * An engine and its broker: relay, receiver and their common state, until the signal.
 * Duty: open what they need, tell the scheduler when to poll how often, keep the engine's row up to date. Non-duty: everything they do.
 * Invariant: with the broker down, or none, the engine is woken as if there never was one.
 */
import type { Broker } from "@onedata/broker";
import { sleep } from "@onedata/mesh";
import { reportBroker, type Sql, type Store } from "@onedata/store";
import type { EngineLog } from "../engine-log.ts";
import { BrokerState } from "./broker-state.ts";
import { type ReceiverPorts, receiveUntil } from "./receiver.ts";
import { Relay, type RelayOptions } from "./relay.ts";
import { channelOf, looksAtOnce, type Seats, seatsOf } from "./seats.ts";

/** What an engine is given of its broker. */
export type EngineBroker = {
  readonly broker: Broker;
  /** Its address without secrets. */
  readonly address: string;
  /** A connection of the relay's own; whoever opened it ends it. */
  readonly sql: Sql;
};

export type BrokerLinkPorts = EngineBroker & {
  readonly store: Store;
  /** Of now: a lease that ran out gives way to another. */
  readonly incarnation: string;
  /** Incarnations of all living engines, in an order that all of them see. */
  readonly engines: () => readonly string[];
  readonly installation: string;
  readonly log: EngineLog;
  readonly monotonicMs: () => number;
  readonly random: () => number;
  readonly slots: () => number;
  readonly isBusy: () => boolean;
  /** The state changed: the next look is due at once. */
  readonly changed: () => void;
} & Pick<ReceiverPorts, "whenFree" | "offer">;

export interface BrokerLink {
  readonly isUp: boolean;
  /** `up`, or `down: ` and the reason. */
  readonly state: string;
  /** A commit, anywhere, may have brought work. */
  wake(): void;
  /** A run has ended. */
  windowOpened(): void;
  run(signal: AbortSignal): Promise<void>;
}

const REPORT_EVERY_MS = 1_000;
/** The row may be another one: a lease that ran out is registered anew. */
const REPORT_AT_LEAST_EVERY_MS = 30_000;

export function createBrokerLink(ports: BrokerLinkPorts, options: RelayOptions): BrokerLink {
  const { broker, address, log } = ports;
  const channel = channelOf(ports.installation);
  const seats = (): Seats => seatsOf(channel, broker.receivers, ports.engines(), ports.incarnation);
  const interrupts = new Set<() => void>();
  const state = new BrokerState({
    broker: address,
    log,
    changed: () => {
      if (!state.isUp) for (const interrupt of interrupts) interrupt();
      relay.wake();
      ports.changed();
    },
  });
  const relay = new Relay({ ...ports, seats, state }, options);
  return {
    get isUp() {
      return state.isUp;
    },
    get state() {
      return state.text;
    },
    wake() {
      if (looksAtOnce(ports.engines(), ports.incarnation)) relay.wake();
    },
    windowOpened: () => relay.windowOpened(),
    async run(signal) {
      await Promise.all([
        relay.run(signal),
        receiveUntil(signal, { broker, channel: () => seats().own, state, log, whenFree: ports.whenFree, offer: ports.offer, interrupts }),
        reportUntil(signal, ports, () => state.text),
      ]);
    },
  };
}

async function reportUntil(signal: AbortSignal, ports: BrokerLinkPorts, read: () => string): Promise<void> {
  for (let [reported, reportedMs] = ["", 0]; !signal.aborted; ) {
    const [state, incarnation] = [read(), ports.incarnation];
    const reporting = `${incarnation} ${state}`;
    if (reporting !== reported || ports.monotonicMs() - reportedMs > REPORT_AT_LEAST_EVERY_MS) {
      try {
        await reportBroker(ports.store, incarnation, { broker: ports.address, state });
        [reported, reportedMs] = [reporting, ports.monotonicMs()];
      } catch {
        // The lease's own renewals tell of a database that is away; this is tried again.
      }
    }
    await sleep(REPORT_EVERY_MS, signal);
  }
}
