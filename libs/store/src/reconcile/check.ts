/** What a check is: one look at the database, bounded in rows and in time, and what to do about what it sees. */
import { formatEventId, toBatchId } from "@onedata/core";
import type { Transaction } from "../connection.ts";

export type FindingState = "ok" | "warning" | "failed";

export type Finding = {
  /** e.g. `queue.orphaned_runs`. */
  readonly check: string;
  readonly state: FindingState;
  /** What was seen, with figures. */
  readonly detail: string;
  /** What to do; empty when it is ok. */
  readonly advice: string;
  readonly count: number;
  /** Public ids or names of some of them. */
  readonly examples: readonly string[];
  readonly tookMs: number;
};

export type Seen = {
  readonly state: FindingState;
  readonly count: number;
  readonly detail: string;
  readonly examples?: readonly string[];
};

export type Check = {
  readonly name: string;
  readonly advice: string;
  readonly look: (tx: Transaction, options: LookOptions) => Promise<Seen>;
};

export type LookOptions = {
  /** From [0, 1): where a window over something large begins, so that passes look at all of it in time. */
  readonly random: () => number;
  /** This process's clock, in milliseconds since 1970. */
  readonly now: () => number;
  /** Names the key that connections' secrets are encrypted with. */
  readonly secretKeyId?: string;
  readonly thresholds: Thresholds;
};

/** From where on something is worth a warning. */
export type Thresholds = {
  /** After a start of the server leases count anew: so long nothing is said of engines and runs. */
  readonly restartGraceMs: number;
  readonly oldTransactionMs: number;
  readonly heldWalBytes: number;
  readonly deadQueueRows: number;
  readonly transactionAge: number;
  readonly freeDiskBytes: number;
  readonly clockSkewMs: number;
};

const GIB = 1024 ** 3;
export const THRESHOLDS: Thresholds = {
  restartGraceMs: 60_000,
  oldTransactionMs: 300_000,
  heldWalBytes: GIB,
  deadQueueRows: 200_000,
  transactionAge: 500_000_000,
  freeDiskBytes: 2 * GIB,
  clockSkewMs: 1_000,
};

/** Rows that a check counts to at most. */
export const MOST = 100;
const EXAMPLES = 5;

/** `rows` are what should not be: none is fine. They were read with a limit of `MOST`. */
export function judge(
  rows: readonly { readonly example: string }[],
  { state, ok, bad }: { readonly state: "warning" | "failed"; readonly ok: string; readonly bad: (count: string) => string },
): Seen {
  if (rows.length === 0) return { state: "ok", count: 0, detail: ok };
  const count = rows.length >= MOST ? `${MOST} or more` : String(rows.length);
  return { state, count: rows.length, detail: bad(count), examples: rows.slice(0, EXAMPLES).map(({ example }) => example) };
}

/** The first event of a batch stands for it: that id people can look up. */
export const batchExample = (batchId: bigint, n = 0): string => formatEventId({ batchId: toBatchId(batchId), n });
