/** What an end-to-end case answers. */
export type Outcome = { readonly ok: boolean; readonly text: string };

export type E2eOptions = {
  readonly kills: number;
  readonly ratePerSecond: number;
  readonly seconds: number;
  readonly seed: number;
  /** Kills a backend of Postgres too, after which the server recovers from its log. */
  readonly withPostgres: boolean;
  /** How long a broker stays frozen. */
  readonly freezeSeconds: number;
  /** Of order: keys, and events per key. */
  readonly keys: number;
  readonly perKey: number;
  readonly progress: (line: string) => void;
};

/** Reproducible choices: mulberry32. */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
