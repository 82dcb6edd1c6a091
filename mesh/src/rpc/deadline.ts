/**
 * Deadlines and cancellation as one signal. Its reason is always a `OneDataError`: `request.timeout` for the deadline, `aborted` for the caller.
 * Invariant: timers and listeners are gone after `dispose`, so a long-lived signal never collects listeners.
 */
import { OneDataError, raceSignal } from "@onedata/core";

export type Deadline = Disposable & {
  readonly signal: AbortSignal;
  /** On the clock of `performance.now()`. */
  readonly atMs: number;
  /** Never negative. */
  remainingMs(): number;
};

/** `what` names the call in messages. */
export function startDeadline(what: string, timeoutMs: number, signal?: AbortSignal): Deadline {
  const controller = new AbortController();
  const atMs = performance.now() + timeoutMs;
  const onAbort = (): void => controller.abort(toAborted(what, signal));
  const timer = setTimeout(() => controller.abort(new OneDataError("request.timeout", `${what}: no answer within ${timeoutMs} ms`)), timeoutMs);
  if (signal?.aborted === true) onAbort();
  else signal?.addEventListener("abort", onAbort, { once: true });
  return {
    signal: controller.signal,
    atMs,
    remainingMs: () => Math.max(0, atMs - performance.now()),
    [Symbol.dispose]() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    },
  };
}

/** Iterates until the signal fires, then throws its reason and closes the source. */
export async function* untilAborted<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  let open = true;
  try {
    for (;;) {
      const next = await raceSignal(iterator.next(), signal);
      if (next.done === true) {
        open = false;
        return;
      }
      yield next.value;
    }
  } finally {
    // Not awaited: a source that hangs in `next` would hold the caller that has just been told the time is up.
    if (open) void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}

/** Waits; rejects with the signal's reason. */
export function wait(ms: number, signal: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const waited = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  return raceSignal(waited, signal).finally(() => clearTimeout(timer));
}

function toAborted(what: string, signal: AbortSignal | undefined): OneDataError {
  const reason: unknown = signal?.reason;
  return reason instanceof OneDataError ? reason : new OneDataError("aborted", `${what}: the caller gave up`, { cause: reason });
}
