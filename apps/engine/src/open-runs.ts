/**
 * The runs in flight of one engine, each with the end of its time by this process's own clock.
 *
 * Duty: ends the calls of a run that has hung beyond its deadline, or whose incarnation is over, and lets its slot go. Non-duty: taking its batches back (the
 * sweeper does, by the database's clock), and stopping what still moves in it: a late completion meets its fence.
 */
import { OneDataError } from "@onedata/core";

export interface OpenRun extends Disposable {
  /** Aborted when the run is overdue, or with the signal of its incarnation. */
  readonly signal: AbortSignal;
  /** Rejects when the run is overdue. */
  readonly overdue: Promise<never>;
  readonly isOverdue: boolean;
  /** The deadline was moved. */
  touch(): void;
}

export interface OpenRuns {
  open(incarnation: AbortSignal): OpenRun;
  /** Gives up what is overdue; returns how many. */
  giveUpOverdue(): number;
}

type Entry = { dueMs: number; isOverdue: boolean; readonly giveUp: () => void };

export function createOpenRuns(deadlineMs: number, monotonicMs: () => number): OpenRuns {
  const entries = new Set<Entry>();
  return {
    open(incarnation) {
      const controller = new AbortController();
      const end = (): void => controller.abort(incarnation.reason);
      // By hand: AbortSignal.any keeps every run's signal as long as the engine lives.
      if (incarnation.aborted) end();
      else incarnation.addEventListener("abort", end, { once: true });
      let reject: (error: OneDataError) => void = () => undefined;
      const overdue = new Promise<never>((_, refuse) => {
        reject = refuse;
      });
      overdue.catch(() => undefined);
      const entry: Entry = {
        dueMs: monotonicMs() + deadlineMs,
        isOverdue: false,
        giveUp() {
          entry.isOverdue = true;
          const error = new OneDataError("aborted", `the run gave no sign of life for ${deadlineMs / 1000} s; another one takes its batches over`);
          controller.abort(error);
          reject(error);
        },
      };
      entries.add(entry);
      return {
        signal: controller.signal,
        overdue,
        get isOverdue() {
          return entry.isOverdue;
        },
        touch() {
          entry.dueMs = monotonicMs() + deadlineMs;
        },
        [Symbol.dispose]() {
          entries.delete(entry);
          incarnation.removeEventListener("abort", end);
        },
      };
    },
    giveUpOverdue() {
      const due = [...entries].filter(({ dueMs }) => dueMs <= monotonicMs());
      for (const entry of due) {
        entries.delete(entry);
        entry.giveUp();
      }
      return due.length;
    },
  };
}
