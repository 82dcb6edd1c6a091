/** One pending "look again": given any number of times, taken once. A nudge that nobody waits for is kept. */
export class Nudge {
  #given = false;
  #resolve: (() => void) | undefined;

  give(): void {
    this.#given = true;
    this.#resolve?.();
  }

  forget(): void {
    this.#given = false;
  }

  /** Resolves with the next nudge, after `ms`, or when aborted. One waiter at a time. */
  async taken(ms: number, signal: AbortSignal): Promise<void> {
    if (!this.#given && !signal.aborted) {
      const given = new Promise<void>((resolve) => {
        this.#resolve = resolve;
      });
      const resolve = (): void => this.#resolve?.();
      const timer = setTimeout(resolve, ms);
      signal.addEventListener("abort", resolve, { once: true });
      await given;
      clearTimeout(timer);
      signal.removeEventListener("abort", resolve);
      this.#resolve = undefined;
    }
    this.#given = false;
  }
}
