/**
 * The relay: hands pointers of waiting batches to the broker, so that an idle slot somewhere claims them.
 *
 * Duty: publish when work may wait (a commit, a finished run, now and then); take marks back that could not be handed over; watch the broker, and publish anew
 * what it lost. Non-duty: which batches, and how many (the store's statement); claiming.
 * Invariants:
 * 1. Any number of relays at once, without a leader: a batch is marked by one of them.
 * 2. Nothing is kept in memory beyond one turn; with the broker down nothing is published at all, and engines poll. Nothing accumulates in the broker either:
 *    what ends of runs and polls took leaves messages behind, so beyond `maxWaiting` of them none is added.
 * 3. Turns cost at most a third of a core, and vain ones beside a backlog (its windows are full) a tenth, however long the statement takes. Where that delays a
 *    pointer, a backlog keeps the engines busy, and the ends of their runs look.
 */
import { type Broker, encodePointers, type PublishResult } from "@onedata/broker";
import { type LaneId, OneDataError } from "@onedata/core";
import { sleep } from "@onedata/mesh";
import { type LostAfter, publishWaiting, type Sql, unpublish } from "@onedata/store";
import type { EngineLog } from "../engine-log.ts";
import type { BrokerState } from "./broker-state.ts";
import { type PointerMessage, toMessages } from "./messages.ts";
import { Nudge } from "./nudge.ts";
import { inTurn, type Seats } from "./seats.ts";

export type RelayPorts = {
  readonly broker: Broker;
  /** Of now: engines come and go. */
  readonly seats: () => Seats;
  readonly sql: Sql;
  readonly state: BrokerState;
  readonly log: EngineLog;
  readonly monotonicMs: () => number;
  /** 0 … 1, for jitter. */
  readonly random: () => number;
  /** Of all living engines. */
  readonly slots: () => number;
  /** This engine has runs open: their ends look for work. */
  readonly isBusy: () => boolean;
};

export type RelayOptions = {
  /** A message carries no more events than a claim takes. */
  readonly targetEvents: number;
  /** Longest time without looking while the broker is up. */
  readonly pollMs: number;
  readonly gatherMs: number;
  /** Between turns while this engine is busy: most of what waits is taken at the end of its runs, and a pointer to it would be in vain. */
  readonly busyGatherMs: number;
  readonly publishTimeoutMs: number;
  /** Between two questions for the broker's health. */
  readonly watchMs: number;
  /** After a wiped store was seen, until what was published before counts as lost. */
  readonly graceMs: number;
  /** Messages in the broker beyond which no more are added: those wake whoever is idle. */
  readonly maxWaiting: number;
  readonly lostAfter?: LostAfter;
};

export const RELAY_DEFAULTS = {
  pollMs: 100,
  gatherMs: 10,
  busyGatherMs: 50,
  publishTimeoutMs: 2_000,
  watchMs: 1_000,
  graceMs: 1_000,
  maxWaiting: 1_000,
} as const;

const MAX_BATCHES = 1024;
/** Pauses after a turn, as multiples of what it took. */
const TURN_FACTOR = 2;
const VAIN_TURN_FACTOR = 10;
const WINDOW_PER_SLOT = 2;
/** Between two looks at how much waits in the broker. */
const DEPTH_EVERY = 5;
const BACKOFF = { firstMs: 250, mostMs: 5_000 };
/** After a failed publish, before a wake-up is tried: doubled while they fail, whatever the broker's health says. */
const RETRY_PUBLISH = { firstMs: 500, mostMs: 30_000 };
const REPLAN_EVERY_MS = 5_000;
const SLOW_TURN_MS = 25;

export class Relay {
  readonly #ports: RelayPorts;
  readonly #options: RelayOptions;
  readonly #nudge = new Nudge();
  readonly #idle = new Nudge();
  #afterLane: LaneId | undefined;
  #moreWaits = false;
  #epoch: string | undefined;
  /** Of each channel, as last read. */
  #lastSequences = new Map<string, number>();
  #turns = 0;
  #lostAtMs: number | undefined;
  /** Messages in the broker, as last read. */
  #waiting: number | undefined;
  #failedPublishes = 0;
  #publishAgainMs = 0;
  #replanFromMs = 0;

  constructor(ports: RelayPorts, options: RelayOptions) {
    this.#ports = ports;
    this.#options = options;
  }

  /** Work may wait. */
  wake(): void {
    this.#nudge.give();
  }

  /** A run has ended: the window may be open again. */
  windowOpened(): void {
    if (this.#moreWaits) this.#nudge.give();
    if (!this.#ports.isBusy()) this.#idle.give();
  }

  /** Until aborted. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([this.#publishUntil(signal), this.#watchUntil(signal)]);
  }

  async #publishUntil(signal: AbortSignal): Promise<void> {
    const { state, log, monotonicMs } = this.#ports;
    for (let failures = 0; !signal.aborted; ) {
      // This engine's own receiving may fail while others' works.
      if (state.problemOf("health") !== undefined || state.problemOf("publish") !== undefined) {
        await this.#nudge.taken(this.#options.watchMs, signal);
        continue;
      }
      const startedMs = monotonicMs();
      let count = 0;
      try {
        count = await this.#turn();
        failures = 0;
      } catch (error) {
        failures += 1;
        if (failures === 1) log.warn("could not look for batches to publish", { error });
        await sleep(this.#backoffMs(failures), signal);
      }
      const tookMs = monotonicMs() - startedMs;
      await this.#replanAfter(tookMs);
      await sleep(Math.max(this.#options.gatherMs, (count === 0 && this.#moreWaits ? VAIN_TURN_FACTOR : TURN_FACTOR) * tookMs), signal);
      await this.#letBusyEngineLook(signal);
      if (count < MAX_BATCHES) await this.#nudge.taken(this.#options.pollMs, signal);
    }
  }

  async #letBusyEngineLook(signal: AbortSignal): Promise<void> {
    const { gatherMs, busyGatherMs } = this.#options;
    if (!this.#ports.isBusy()) return;
    this.#idle.forget();
    await this.#idle.taken(busyGatherMs - gatherMs, signal);
    // The claim at the end of a run comes first.
    if (!this.#ports.isBusy()) await sleep(gatherMs, signal);
  }

  /** Returns how many batches were marked. */
  async #turn(): Promise<number> {
    const { sql, monotonicMs, slots } = this.#ports;
    if ((this.#waiting ?? 0) > this.#options.maxWaiting) return 0;
    const lostForMs = this.#lostAtMs === undefined ? undefined : monotonicMs() - this.#lostAtMs;
    const published = await publishWaiting(sql, {
      windowEvents: WINDOW_PER_SLOT * Math.max(1, slots()) * this.#options.targetEvents,
      maxBatches: MAX_BATCHES,
      afterLane: this.#afterLane,
      brokerIsEmpty: this.#waiting === 0,
      ...(lostForMs === undefined || lostForMs < this.#options.graceMs ? {} : { lostForMs }),
      ...(this.#options.lostAfter === undefined ? {} : { lostAfter: this.#options.lostAfter }),
    });
    this.#afterLane = published.lastLane;
    this.#moreWaits = published.more;
    const messages = toMessages(published, this.#options.targetEvents);
    if (messages.length > 0) await this.#send(messages);
    return messages.reduce((sum, { batches }) => sum + batches.length, 0);
  }

  async #send(messages: readonly PointerMessage[]): Promise<void> {
    const { sql } = this.#ports;
    // What was read before is no longer so.
    if (this.#waiting === 0) this.#waiting = undefined;
    const results = await this.#publish(messages.map(({ body }) => body));
    const failed = messages.filter((_, i) => results[i]?.ok !== true);
    if (failed.length === 0) return;
    // First of all: from now on engines poll, and need no message.
    this.#publishFailed(reasonOf(results));
    await unpublish(
      sql,
      failed.flatMap(({ batches }) => batches),
    );
  }

  /** Spreads bodies over the seats; one result per body. */
  async #publish(bodies: readonly Uint8Array[]): Promise<readonly (PublishResult | undefined)[]> {
    const { broker, seats, isBusy } = this.#ports;
    const channels = inTurn(seats(), isBusy(), this.#turns);
    this.#turns += 1;
    const results: (PublishResult | undefined)[] = Array.from({ length: bodies.length }, () => undefined);
    await Promise.all(
      channels.slice(0, bodies.length).map(async (channel, at) => {
        const own = bodies.filter((_, n) => n % channels.length === at);
        const answers = await broker.publish(channel, own, { timeoutMs: this.#options.publishTimeoutMs });
        for (const [n, answer] of answers.entries()) results[at + n * channels.length] = answer;
      }),
    );
    return results;
  }

  /** A broker that answers pings may still take nothing: it is up again when it has taken a message, a bare wake-up. */
  async #tryPublish(): Promise<void> {
    const { state } = this.#ports;
    const results = await this.#publish([encodePointers([])]);
    if (results[0]?.ok !== true) return this.#publishFailed(reasonOf(results));
    this.#failedPublishes = 0;
    state.works("publish");
  }

  #publishFailed(reason: string): void {
    this.#ports.state.fails("publish", reason);
    this.#publishAgainMs = this.#ports.monotonicMs() + this.#jittered(RETRY_PUBLISH, this.#failedPublishes);
    this.#failedPublishes += 1;
  }

  async #watchUntil(signal: AbortSignal): Promise<void> {
    const { broker, state, monotonicMs } = this.#ports;
    for (let [asked, failures] = [0, 0]; !signal.aborted; asked += 1) {
      const health = await broker.health();
      if (signal.aborted) return;
      if (health.ok) {
        failures = 0;
        this.#see(health.epoch);
        state.works("health");
        if (state.problemOf("publish") !== undefined && monotonicMs() >= this.#publishAgainMs) await this.#tryPublish();
        if (asked % DEPTH_EVERY === 0) await this.#readDepth();
      } else {
        failures += 1;
        state.fails("health", health.reason);
      }
      await sleep(health.ok ? this.#options.watchMs : this.#backoffMs(failures), signal);
    }
  }

  #see(epoch: string): void {
    if (this.#epoch !== undefined && this.#epoch !== epoch) this.#lose("the broker has restarted or lost its store; what it had is published again");
    this.#epoch = epoch;
  }

  async #readDepth(): Promise<void> {
    const { broker, seats } = this.#ports;
    try {
      const depths = await Promise.all(seats().channels.map(async (channel) => ({ channel, ...(await broker.depth(channel)) })));
      if (depths.some(({ channel, lastSequence }) => lastSequence < (this.#lastSequences.get(channel) ?? 0)))
        this.#lose("the broker's messages are numbered anew; what it had is published again");
      this.#lastSequences = new Map(depths.map(({ channel, lastSequence }) => [channel, lastSequence]));
      this.#waiting = depths.reduce((sum, { waiting }) => sum + waiting, 0);
    } catch (error) {
      // Its health, asked next, tells what there is to tell.
      this.#waiting = undefined;
      this.#ports.log.info("could not read the broker's depth", { reason: OneDataError.from(error).message });
    }
  }

  #lose(why: string): void {
    this.#lostAtMs = this.#ports.monotonicMs();
    this.#lastSequences.clear();
    this.#ports.log.warn(why, { channels: this.#ports.seats().channels });
  }

  /** A plan that was made while the tables were empty may be slow now (see `createClaimer` of the store). */
  async #replanAfter(tookMs: number): Promise<void> {
    const now = this.#ports.monotonicMs();
    if (tookMs < SLOW_TURN_MS || now < this.#replanFromMs) return;
    this.#replanFromMs = now + REPLAN_EVERY_MS;
    await this.#ports.sql.unsafe("discard plans").catch(() => undefined);
  }

  #backoffMs(failures: number): number {
    return this.#jittered(BACKOFF, failures - 1);
  }

  #jittered({ firstMs, mostMs }: { readonly firstMs: number; readonly mostMs: number }, failures: number): number {
    return Math.min(mostMs, firstMs * 2 ** Math.min(failures, 10)) * (0.75 + this.#ports.random() / 2);
  }
}

function reasonOf(results: readonly (PublishResult | undefined)[]): string {
  for (const result of results) if (result?.ok === false) return result.reason;
  return "fewer answers than messages";
}
