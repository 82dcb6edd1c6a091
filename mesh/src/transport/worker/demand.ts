/** Flow control of streams over a port: one message is asked for at a time. */

/** The sending end: a message may go out for every `pull` that came in. One sender. */
export interface Demand {
  add(): void;
  /** Resolves when a message may go out. */
  take(): Promise<void>;
}

export function createDemand(): Demand {
  let credits = 0;
  let wake: (() => void) | undefined;
  return {
    add() {
      credits++;
      wake?.();
    },
    async take() {
      while (credits === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      credits--;
    },
  };
}

/** The receiving end of one stream: messages come in by `push`, go out by iterating. */
export interface Inbox extends AsyncIterable<Uint8Array> {
  push(body: Uint8Array): void;
  end(): void;
  fail(error: unknown): void;
}

/** `pull` asks the other side for one more message; `leave` tells that nobody listens any more. One consumer. */
export function createInbox(pull: () => void, leave: () => void): Inbox {
  type Outcome = { readonly value: Uint8Array } | { readonly error: unknown } | "end";
  const waiting: Outcome[] = [];
  let wake: (() => void) | undefined;
  const put = (outcome: Outcome): void => {
    waiting.push(outcome);
    wake?.();
  };
  return {
    push: (value) => put({ value }),
    end: () => put("end"),
    fail: (error) => put({ error }),
    async *[Symbol.asyncIterator]() {
      let finished = false;
      try {
        for (;;) {
          if (waiting.length === 0) {
            pull();
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
            wake = undefined;
          }
          const outcome = waiting.shift();
          if (outcome === undefined) continue;
          if (outcome === "end") {
            finished = true;
            return;
          }
          if ("error" in outcome) {
            finished = true;
            throw outcome.error;
          }
          yield outcome.value;
        }
      } finally {
        if (!finished) leave();
      }
    },
  };
}
