/** What the tenants of one gateway share, and how much of it there is. */
import { createShare, type Share, type ShareFigures } from "./share.ts";

export type Shares = {
  /** Bytes of captures from their first byte to the last of their answer. */
  readonly requests: Share;
  /** Bytes of events that wait for a commit. */
  readonly events: Share;
  /** Imports being received: two chunks and a record each. */
  readonly imports: Share;
  /** Callers that wait for a verdict (`Prefer: wait`). */
  readonly waiters: Share;
  /** Bytes of all other calls: their bodies, and answers that nobody has read yet. */
  readonly calls: Share;
  /** Pipelines being looked up because nobody has captured into them lately. */
  readonly lookups: Share;
};

export type ShareLimits = { readonly [name in keyof Shares]?: number };
export type SharesFigures = { readonly [name in keyof Shares]: ShareFigures };

const MIB = 1024 * 1024;

/** A request costs its headers, its objects, its socket's buffers. */
export const REQUEST_BYTES = 8 * 1024;
/** The same for a call that goes on to another service. */
export const CALL_BYTES = 64 * 1024;

export function createShares(limits: ShareLimits = {}): Shares {
  return {
    requests: createShare(limits.requests ?? 96 * MIB, "much in flight", "wait for answers before you send more, or use an import"),
    events: createShare(limits.events ?? 128 * MIB, "many events waiting to be written", "slow down, or use an import"),
    imports: createShare(limits.imports ?? 16, "many imports being received", "wait for one to end"),
    waiters: createShare(limits.waiters ?? 5_000, "many callers waiting", "ask for fewer verdicts"),
    calls: createShare(limits.calls ?? 128 * MIB, "many calls or unread answers", "read the answers, and wait for them before you ask more"),
    lookups: createShare(limits.lookups ?? 64, "many unknown pipelines", "check their names"),
  };
}

export const toFigures = ({ requests, events, imports, waiters, calls, lookups }: Shares): SharesFigures => ({
  requests: requests.figures,
  events: events.figures,
  imports: imports.figures,
  waiters: waiters.figures,
  calls: calls.figures,
  lookups: lookups.figures,
});
