/**
 * Wake-ups: after a commit, "there is work". Nothing depends on them; engines poll too.
 *
 * Invariants: sent on a connection of its own and never inside a transaction that writes (NOTIFY takes a lock for the whole server until commit);
 * at most one every 10 ms per process, the last of a burst always goes out; a lost one costs a poll interval.
 */
import { connect } from "./connection.ts";

export const WAKE_CHANNEL = "onedata_wake";
const MIN_INTERVAL_MS = 10;

export interface Waker extends AsyncDisposable {
  /** Returns at once; never throws. */
  wake(): void;
}

export function openWaker(url: string): Waker {
  const sql = connect(url, { max: 1, applicationName: "onedata-wake", parameters: { synchronous_commit: "off" } });
  let last = 0;
  let timer: NodeJS.Timeout | undefined;
  let sending: Promise<unknown> = Promise.resolve();
  let asked = false;
  const send = (): void => {
    timer = undefined;
    asked = false;
    last = performance.now();
    sending = sql`select pg_notify(${WAKE_CHANNEL}, '')`.then(
      () => (asked ? schedule() : undefined),
      () => undefined, // polling finds the work
    );
  };
  const schedule = (): void => {
    timer ??= setTimeout(send, Math.max(0, last + MIN_INTERVAL_MS - performance.now()));
  };
  return {
    wake() {
      asked = true;
      schedule();
    },
    async [Symbol.asyncDispose]() {
      clearTimeout(timer);
      await sending;
      await sql.end({ timeout: 2 });
    },
  };
}

/** Calls `onWake` for every wake-up of any process, and once after each (re)connection. Disposing stops it. */
export async function listenForWakes(url: string, onWake: () => void): Promise<AsyncDisposable> {
  const sql = connect(url, { max: 1, applicationName: "onedata-listen" });
  await sql.listen(WAKE_CHANNEL, onWake, onWake);
  return { [Symbol.asyncDispose]: () => sql.end({ timeout: 2 }) };
}
