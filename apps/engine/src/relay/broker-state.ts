/**
 * How this engine stands with its broker: up, or down and why.
 *
 * Duty: fold what publishing, receiving and asking for its health found into one state; tell of changes once, whatever many calls found meanwhile.
 * Non-duty: finding out (the relay, the receiver).
 * Invariant: up only while nobody has a problem: a broker that answers pings but takes nothing is down, and engines poll.
 */
import type { EngineLog } from "../engine-log.ts";

export type BrokerPart = "health" | "publish" | "receive";

export class BrokerState {
  readonly #problems = new Map<BrokerPart, string>();
  readonly #log: EngineLog;
  readonly #broker: string;
  readonly #changed: () => void;
  /** Undefined until the first answer: a broker that is away from the start is told of as well. */
  #isUp: boolean | undefined;

  /** `broker` is its address without secrets. */
  constructor({ broker, log, changed }: { readonly broker: string; readonly log: EngineLog; readonly changed: () => void }) {
    this.#broker = broker;
    this.#log = log;
    this.#changed = changed;
    this.#problems.set("health", "not asked yet");
  }

  get isUp(): boolean {
    return this.#isUp === true;
  }

  /** For the engine's row: `up`, or `down: ` and the reason. */
  get text(): string {
    const [reason] = this.#problems.values();
    return reason === undefined ? "up" : `down: ${reason}`;
  }

  problemOf(part: BrokerPart): string | undefined {
    return this.#problems.get(part);
  }

  works(part: BrokerPart): void {
    this.#problems.delete(part);
    this.#settle();
  }

  fails(part: BrokerPart, reason: string): void {
    this.#problems.set(part, reason.slice(0, 300));
    this.#settle();
  }

  #settle(): void {
    const isUp = this.#problems.size === 0;
    if (isUp === this.#isUp) return;
    this.#isUp = isUp;
    if (isUp) this.#log.info("the broker is up; it wakes claims", { broker: this.#broker });
    else this.#log.warn("the broker is down; engines poll", { broker: this.#broker, reason: this.text.slice("down: ".length) });
    this.#changed();
  }
}
