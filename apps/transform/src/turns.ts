/**
 * The groups of one Apply call share the thread one at a time, but wait for databases all at once: a database that hangs costs its own group its time, and the others
 * the time they compute.
 */
export interface Turns {
  /** Runs `work` when no other group of the call computes. */
  take<T>(work: () => Promise<T>): Promise<T>;
  /** Within a turn: others have theirs while `wait` goes on. */
  pause<T>(wait: () => Promise<T>): Promise<T>;
}

export function createTurns(): Turns {
  const waiting: (() => void)[] = [];
  let isTaken = false;
  const begin = async (): Promise<void> => {
    if (isTaken) await new Promise<void>((next) => waiting.push(next));
    isTaken = true;
  };
  const end = (): void => {
    const next = waiting.shift();
    // Handed over, not set free: whoever comes meanwhile waits behind.
    if (next === undefined) isTaken = false;
    else next();
  };
  return {
    async take(work) {
      await begin();
      try {
        return await work();
      } finally {
        end();
      }
    },
    async pause(wait) {
      end();
      try {
        return await wait();
      } finally {
        await begin();
      }
    },
  };
}
