/** Services that do not describe themselves, in the log: nothing while they may still be starting, for they start beside this process. */
import type { Logger } from "@onedata/mesh";

/** Services start beside control. A worker or a machine that loads its modules from source on a busy machine takes this long at most; later it is away, not starting. */
export const START_LIMIT_MS = 60_000;

/** Told after each look, by address what is wrong. A service that has answered once, and one that is still silent after a minute, gets a warning. */
export function createUnreachableTeller(log: Pick<Logger, "warn">, nowMs = () => performance.now()) {
  const startedMs = nowMs();
  let starting: ReadonlySet<string> | undefined;
  return (unreachable: ReadonlyMap<string, string>): void => {
    starting = new Set([...(starting ?? unreachable.keys())].filter((address) => unreachable.has(address)));
    for (const [address, problem] of unreachable) {
      const mayBeStarting = starting.has(address) && nowMs() - startedMs < START_LIMIT_MS;
      if (!mayBeStarting)
        log.warn("a service does not describe itself: pipelines that use it wait. Is it running, and at this address?", { address, problem });
    }
  };
}
