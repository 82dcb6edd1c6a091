/**
 * One queue of the double: a log with a durable cursor and one group of members, as the real server keeps it.
 * A message is undelivered (from the cursor on), pending at one member, or released (its member closed) and then goes out first, in its old order.
 * Acked ones leave memory here; `first` moves by age only, as in the real store.
 */
import type { QueueMessage } from "../messages.ts";

export type Stored = { readonly sequence: number; readonly atMs: number; readonly message: QueueMessage };

export interface Member {
  /** Messages this member holds, in delivery order. */
  readonly pending: ReadonlyMap<number, Stored>;
  ack(sequence: number): void;
  /** What is pending goes back at once. */
  close(): void;
}

export interface Queue {
  append(message: QueueMessage, atMs: number): Stored;
  subscribe(maxInflight: number, onMessage: (stored: Stored) => void): Member;
  /** Drops what is older, delivered or not. */
  expire(olderThanMs: number): void;
  /** While the journal is read: this one was acknowledged. */
  forget(sequence: number): void;
  /** Power loss: the newest `count` messages were never on disk. */
  loseLast(count: number): void;
  /** The server process died: nobody is subscribed any more. */
  closeMembers(): void;
  readonly figures: QueueFigures;
  readonly lastActivityMs: number;
}

export type QueueFigures = {
  readonly first: number;
  readonly last: number;
  readonly delivered: number;
  readonly waiting: number;
  readonly members: number;
};

export function createQueue(onAck: (sequence: number) => void = () => undefined): Queue {
  const log = new Map<number, Stored>();
  const ages: { untilSequence: number; readonly atMs: number }[] = [];
  const members: OwnMember[] = [];
  let released: number[] = [];
  let first = 1;
  let last = 0;
  let cursor = 1;
  let lastActivityMs = 0;
  let scheduled = false;

  type OwnMember = { readonly pending: Map<number, Stored>; readonly maxInflight: number; readonly onMessage: (stored: Stored) => void };

  function schedule(): void {
    if (scheduled) return;
    scheduled = true;
    queueMicrotask(() => {
      scheduled = false;
      dispatch();
    });
  }

  function dispatch(): void {
    for (;;) {
      const index = members.findIndex((member) => member.pending.size < member.maxInflight);
      const member = members[index];
      if (member === undefined) return;
      const stored = next();
      if (stored === undefined) return;
      members.push(...members.splice(index, 1)); // the next one's turn
      member.pending.set(stored.sequence, stored);
      member.onMessage(stored);
    }
  }

  function close(member: OwnMember): void {
    const index = members.indexOf(member);
    if (index < 0) return;
    members.splice(index, 1);
    released = [...released, ...member.pending.keys()].sort((a, b) => a - b);
    member.pending.clear();
    schedule();
  }

  function next(): Stored | undefined {
    for (let sequence = released.shift(); sequence !== undefined; sequence = released.shift()) {
      const stored = log.get(sequence);
      if (stored !== undefined) return stored;
    }
    while (cursor <= last) {
      const stored = log.get(cursor);
      cursor += 1;
      if (stored !== undefined) return stored;
    }
    return undefined;
  }

  return {
    append(message, atMs) {
      last += 1;
      const stored = { sequence: last, atMs, message };
      log.set(last, stored);
      const newest = ages.at(-1);
      if (newest?.atMs === atMs) newest.untilSequence = last;
      else ages.push({ untilSequence: last, atMs });
      lastActivityMs = atMs;
      schedule();
      return stored;
    },
    subscribe(maxInflight, onMessage) {
      const member: OwnMember = { pending: new Map(), maxInflight, onMessage };
      members.push(member);
      schedule();
      return {
        pending: member.pending,
        ack(sequence) {
          if (!member.pending.delete(sequence)) return;
          log.delete(sequence);
          onAck(sequence);
          schedule();
        },
        close: () => close(member),
      };
    },
    closeMembers() {
      while (members[0] !== undefined) close(members[0]);
    },
    expire(olderThanMs) {
      for (let oldest = ages[0]; oldest !== undefined && oldest.atMs < olderThanMs; oldest = ages[0]) {
        for (; first <= oldest.untilSequence; first += 1) log.delete(first);
        ages.shift();
      }
    },
    forget: (sequence) => void log.delete(sequence),
    loseLast(count) {
      const kept = Math.max(first - 1, last - count);
      for (; last > kept; last -= 1) log.delete(last);
      released = released.filter((sequence) => sequence <= last);
      cursor = Math.min(cursor, last + 1);
      while ((ages.at(-1)?.untilSequence ?? 0) > last) {
        const newest = ages.at(-1);
        const before = ages.at(-2)?.untilSequence ?? first - 1;
        if (newest === undefined || before >= last) ages.pop();
        else newest.untilSequence = last;
      }
    },
    get figures() {
      return { first, last, delivered: cursor - first, waiting: log.size, members: members.length };
    },
    get lastActivityMs() {
      return lastActivityMs;
    },
  };
}
