/** Waiting after failures: exponential with full jitter, so that many processes do not come back in step. */
export interface Backoff {
  /** Answers how long the next try should wait. */
  failed(): number;
  succeeded(): void;
  /** Resolves when the next try is due, or when `signal` aborts. At once while nothing fails. */
  due(signal: AbortSignal): Promise<void>;
}

export type BackoffOptions = { readonly firstMs: number; readonly maxMs: number; readonly random: () => number };

export function createBackoff(options: BackoffOptions): Backoff {
  let failures = 0;
  let dueMs = 0;
  return {
    failed() {
      const ceilingMs = Math.min(options.maxMs, options.firstMs * 2 ** failures);
      failures = Math.min(failures + 1, 20);
      const waitMs = ceilingMs * (0.2 + 0.8 * options.random());
      dueMs = performance.now() + waitMs;
      return waitMs;
    },
    succeeded() {
      failures = 0;
      dueMs = 0;
    },
    due: (signal) => pause(dueMs - performance.now(), signal),
  };
}

/** Resolves after `ms`, or early when `signal` aborts. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0 || signal.aborted) return Promise.resolve();
  return new Promise((done) => {
    const finish = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", finish);
      done();
    };
    const timer = setTimeout(finish, ms);
    signal.addEventListener("abort", finish);
  });
}
