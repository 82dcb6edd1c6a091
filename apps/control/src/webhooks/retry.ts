/** When a message is tried again: the schedule that the Standard Webhooks specification suggests, spread so that a receiver that comes back is not hit by all at once. */
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DELAYS_MS = [5_000, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR];
const SPREAD = 0.2;

/** After `tries` failed ones (from 1); `undefined`: that was the last. `random` is from [0, 1). */
export function retryInMs(tries: number, random: number): number | undefined {
  const delay = DELAYS_MS[tries - 1];
  return delay === undefined ? undefined : Math.round(delay * (1 - SPREAD + 2 * SPREAD * random));
}
