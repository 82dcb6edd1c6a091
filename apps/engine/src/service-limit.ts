/**
 * At most so many calls of one engine are in flight at one service; further ones wait their turn, first come first served.
 * Invariants: waiting uses up nothing of the call's own deadline, is bounded by `maxWaitMs`, and ends with the signal; a slow service holds up only its own calls.
 */
import { OneDataError } from "@onedata/core";

export type ServiceLimitOptions = {
  readonly maxCalls: number;
  readonly maxWaitMs: number;
};

export interface ServiceLimit {
  /** Resolves with what gives the place back. Throws `service.failed` when no call ended in time, or the signal's reason. */
  enter(service: string, signal: AbortSignal): Promise<() => void>;
}

type Gate = { open: number; readonly waiting: Set<() => void> };

export function createServiceLimit({ maxCalls, maxWaitMs }: ServiceLimitOptions): ServiceLimit {
  const gates = new Map<string, Gate>();
  const leave = (service: string, gate: Gate): void => {
    const [next] = gate.waiting;
    if (next !== undefined) {
      // The place goes from hand to hand: a newcomer cannot take it in between.
      gate.waiting.delete(next);
      next();
      return;
    }
    gate.open -= 1;
    if (gate.open === 0) gates.delete(service);
  };
  return {
    async enter(service, signal) {
      let gate = gates.get(service);
      if (gate === undefined) {
        gate = { open: 0, waiting: new Set() };
        gates.set(service, gate);
      }
      if (gate.open < maxCalls) gate.open += 1;
      else await waitForPlace(service, gate, signal, { maxCalls, maxWaitMs });
      const own = gate;
      let left = false;
      return () => {
        if (left) return;
        left = true;
        leave(service, own);
      };
    },
  };
}

function waitForPlace(service: string, gate: Gate, signal: AbortSignal, { maxCalls, maxWaitMs }: ServiceLimitOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (settle: () => void): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", give);
      gate.waiting.delete(take);
      settle();
    };
    const take = (): void => end(resolve);
    const give = (): void => end(() => reject(OneDataError.from(signal.reason)));
    const timer = setTimeout(
      () =>
        end(() =>
          reject(
            new OneDataError(
              "service.failed",
              `${maxCalls} calls to it are in flight and none ended within ${maxWaitMs / 1000} s; it is slower than its work comes in`,
            ),
          ),
        ),
      maxWaitMs,
    );
    signal.addEventListener("abort", give, { once: true });
    gate.waiting.add(take);
    if (signal.aborted) give();
  });
}
