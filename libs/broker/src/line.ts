/** A line at a door for one: who gives up (signal, time) leaves the line without having been in. */
export interface Line {
  /** The way out, or undefined when the time was over or `signal` aborted first. */
  enter(withinMs: number, signal: AbortSignal): Promise<(() => void) | undefined>;
}

export function createLine(): Line {
  const waiting: (() => void)[] = [];
  let taken = false;
  const leave = (): void => {
    const next = waiting.shift();
    if (next === undefined) taken = false;
    else next();
  };
  return {
    enter(withinMs, signal) {
      if (signal.aborted) return Promise.resolve(undefined);
      if (!taken) {
        taken = true;
        return Promise.resolve(leave);
      }
      return new Promise((done) => {
        const stop = (): void => {
          clearTimeout(timer);
          signal.removeEventListener("abort", giveUp);
        };
        const enter = (): void => {
          stop();
          done(leave);
        };
        const giveUp = (): void => {
          stop();
          waiting.splice(waiting.indexOf(enter), 1);
          done(undefined);
        };
        const timer = setTimeout(giveUp, withinMs);
        signal.addEventListener("abort", giveUp, { once: true });
        waiting.push(enter);
      });
    },
  };
}
