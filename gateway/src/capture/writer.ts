/**
 * The group-commit writer: while one commit is in flight, requests of all pipelines collect; the next statement writes them all.
 *
 * Duty: grouping, order per lane (one open commit), the bound on what waits, the adaptive gather. Non-duty: checks of the payload (done before), SQL.
 * Invariants:
 *  1. At most one group is in flight, so events of an ordered lane commit in the order in which they were added.
 *  2. What waits is bounded in bytes, in total and per tenant (`share`): a tenant that floods is refused while the others are not.
 *  3. When more waits than a group takes, tenants take turns: behind one that has filled its share another waits for one commit, not for all of them.
 *  4. Nothing waits when the machine is idle. Under load a group may gather, at most `MAX_GATHER_MS` after the previous one began: at 2,000/s commits cost
 *     more than events (half of the machine's time went into groups of a few).
 */
import { OneDataError, type TenantId } from "@onedata/core";
import type { CaptureEvent, CaptureOutcome, CaptureRequest, CaptureTarget } from "@onedata/store";
import type { Share } from "../shares/share.ts";

export type OnCaptured = (outcomes: readonly CaptureOutcome[]) => void;

export interface CaptureWriter {
  /** Adds a request of one pipeline; `done` gets one outcome per event. Throws what the share throws when there is no room. */
  add(target: CaptureTarget, events: readonly CaptureEvent[], bytes: number, done: OnCaptured): void;
  /** Resolves when everything added so far is answered. */
  drain(): Promise<void>;
  readonly stats: WriterStats;
}

export type WriterStats = { commits: number; events: number; refused: number };

export type WriterOptions = {
  /** Commits the group: one list of outcomes per request. */
  readonly commit: (requests: readonly CaptureRequest[]) => Promise<readonly (readonly CaptureOutcome[])[]>;
  /** Told after each commit that wrote something. */
  readonly committed: () => void;
  readonly share: Share;
  readonly now?: () => number;
};

const MAX_GATHER_MS = 10;
const GROUP_EVENTS = 1_000;
/** Of payloads. More gains nothing: what the next group waits for is the writing then, not the commit. */
const GROUP_BYTES = 1024 * 1024;
/** Events that make a statement cheap per event; more gain little. */
const ENOUGH_EVENTS = 48;
/** Below this rate commits do not fill a machine. */
const GATHER_FROM_PER_SECOND = 500;
/** A waiting event costs its text, a response, a socket. */
const OVERHEAD_BYTES = 2_048;

type Waiting = { readonly request: CaptureRequest; readonly bytes: number; readonly held: number; readonly done: OnCaptured };

export function createCaptureWriter({ commit, committed, share, now = () => performance.now() }: WriterOptions): CaptureWriter {
  let waiting: Waiting[] = [];
  let waitingEvents = 0;
  let waitingBytes = 0;
  let busy = false;
  let scheduled = false;
  let gathering: NodeJS.Timeout | undefined;
  let startedAt = -Infinity;
  let perSecond = 0;
  let groupSize = 1;
  let idle: (() => void)[] = [];
  const stats: WriterStats = { commits: 0, events: 0, refused: 0 };

  function add(target: CaptureTarget, events: readonly CaptureEvent[], bytes: number, done: OnCaptured): void {
    const held = bytes + OVERHEAD_BYTES * events.length;
    try {
      share.take(target.tenantId, held);
    } catch (error) {
      stats.refused += events.length;
      throw error;
    }
    waitingBytes += bytes;
    waiting.push({ request: { target, events }, bytes, held, done });
    waitingEvents += events.length;
    if (busy) return;
    if (!scheduled) schedule();
    else if (gathering !== undefined && waitingEvents >= ENOUGH_EVENTS) {
      clearTimeout(gathering);
      flushSoon();
    }
  }

  function schedule(): void {
    const waitMs = gatherMs();
    if (waitMs < 1) return flushSoon();
    scheduled = true;
    gathering = setTimeout(flush, waitMs);
  }

  /** At the end of this turn of the event loop: requests that were read from sockets together are written together. */
  function flushSoon(): void {
    gathering = undefined;
    scheduled = true;
    setImmediate(flush);
  }

  /** How long the next group still gathers: until `ENOUGH_EVENTS` would be there at the present rate, counted from the start of the previous one. */
  function gatherMs(): number {
    if (waitingEvents >= ENOUGH_EVENTS || perSecond < GATHER_FROM_PER_SECOND || groupSize < 2) return 0;
    const spacingMs = Math.min(MAX_GATHER_MS, (1000 * ENOUGH_EVENTS) / perSecond);
    return startedAt + spacingMs - now();
  }

  function flush(): void {
    scheduled = false;
    gathering = undefined;
    const group = takeGroup();
    const events = group.reduce((sum, item) => sum + item.request.events.length, 0);
    const at = now();
    const sinceMs = Math.max(at - startedAt, 0.1);
    // Over about ten groups, or a second when groups are rare.
    const weight = Math.min(1, Math.max(0.1, sinceMs / 1000));
    perSecond += weight * ((1000 * events) / sinceMs - perSecond);
    groupSize += 0.1 * (events - groupSize);
    startedAt = at;
    busy = true;
    stats.commits += 1;
    stats.events += events;
    commit(group.map((item) => item.request)).then(
      (outcomes) => finish(group, outcomes),
      (error: unknown) => {
        const failed: CaptureOutcome = {
          kind: "failed",
          error:
            error instanceof OneDataError
              ? error
              : new OneDataError("store.unavailable", "the database cannot be reached; nothing was captured: try again", {
                  cause: error,
                  retryAfterSeconds: 1,
                }),
        };
        finish(
          group,
          group.map((item) => item.request.events.map(() => failed)),
        );
      },
    );
  }

  function takeGroup(): Waiting[] {
    const group = waitingEvents <= GROUP_EVENTS && waitingBytes <= GROUP_BYTES ? waiting : takeTurns(waiting);
    if (group === waiting) waiting = [];
    else {
      const taken = new Set(group);
      waiting = waiting.filter((item) => !taken.has(item));
    }
    for (const item of group) {
      waitingEvents -= item.request.events.length;
      waitingBytes -= item.bytes;
    }
    return group;
  }

  function finish(group: readonly Waiting[], outcomes: readonly (readonly CaptureOutcome[])[]): void {
    busy = false;
    let wrote = false;
    for (const item of group) share.give(item.request.target.tenantId, item.held);
    // The next statement goes out before the answers are written: the database works while this process does.
    if (waiting.length > 0) {
      const waitMs = gatherMs();
      if (waitMs < 1) flush();
      else schedule();
    }
    group.forEach((item, i) => {
      const own = outcomes[i] ?? [];
      wrote ||= own.some((outcome) => outcome.kind === "captured" && !outcome.duplicate);
      item.done(own);
    });
    if (wrote) committed();
    if (!busy && waiting.length === 0) {
      for (const resolve of idle) resolve();
      idle = [];
    }
  }

  return {
    add,
    stats,
    drain: () => (busy || waiting.length > 0 ? new Promise((resolve) => idle.push(resolve)) : Promise.resolve()),
  };
}

/** One request of each tenant in turn, each tenant's own in their order, until the group is full. */
function takeTurns(waiting: readonly Waiting[]): Waiting[] {
  const queues = new Map<TenantId, Waiting[]>();
  for (const item of waiting) {
    const own = queues.get(item.request.target.tenantId);
    if (own === undefined) queues.set(item.request.target.tenantId, [item]);
    else own.push(item);
  }
  const group: Waiting[] = [];
  let events = 0;
  let bytes = 0;
  for (let turn = 0; queues.size > 0; turn++) {
    for (const [tenantId, own] of queues) {
      const item = own[turn];
      if (item === undefined) {
        queues.delete(tenantId);
        continue;
      }
      if (group.length > 0 && (events + item.request.events.length > GROUP_EVENTS || bytes + item.bytes > GROUP_BYTES)) return group;
      events += item.request.events.length;
      bytes += item.bytes;
      group.push(item);
    }
  }
  return group;
}
