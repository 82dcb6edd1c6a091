/**
 * Counts how many events died, per pipeline version and class, and reports it where the windows of all engines are kept.
 * Duty: nothing is written while nothing dies; a flood is reported before the next claim. Non-duty: the window, its limit, the pause (the store).
 * Invariants: replays, backfills and shadows do not count; a crash loses a second of good events, and at most `REPORT_AT` deaths.
 */
import { DEFAULT_SELF_PAUSE, keepNewest, type SelfPause, type TenantId } from "@onedata/core";
import { addGoodEvents, type ClaimedBatch, type CompletedBatch, reportDeaths, type Store, WINDOW_EVENTS, type WindowKey } from "@onedata/store";
import type { EngineLog } from "./engine-log.ts";

type Tally = WindowKey & {
  readonly tenantId: TenantId;
  readonly limits: SelfPause;
  before: number;
  events: number;
  dead: number;
};

/** Fewer than the smallest limit anybody needs; a run may bring hundreds. */
const REPORT_AT = 20;
const MAX_TALLIES = 5_000;

export class DeathWatch {
  readonly #store: Store;
  readonly #log: EngineLog;
  #tallies = new Map<string, Tally>();
  #reporting: Promise<void> = Promise.resolve();

  constructor(store: Store, log: EngineLog) {
    this.#store = store;
    this.#log = log;
  }

  add({ kind, laneClass, importId, tenantId, pipelineId, version }: ClaimedBatch, { counts }: CompletedBatch, limits = DEFAULT_SELF_PAUSE): void {
    if (kind !== "capture" || limits.off) return;
    const key = `${pipelineId}/${version}/${laneClass}/${laneClass === "bulk" ? (importId ?? 0n) : 0n}`;
    let tally = this.#tallies.get(key);
    if (tally === undefined) {
      tally = { tenantId, pipelineId, version, laneClass, importId, limits, before: 0, events: 0, dead: 0 };
      keepNewest(this.#tallies, key, tally, MAX_TALLIES);
    }
    const events = counts.delivered + counts.filtered + counts.dead;
    if (counts.dead === 0 && tally.dead === 0) tally.before = Math.min(WINDOW_EVENTS, tally.before + events);
    else tally.events += events;
    tally.dead += counts.dead;
  }

  /** Resolves when every flood is reported, so that what follows meets the pause. Free while there is none. */
  async settle(): Promise<void> {
    const floods = [...this.#tallies].filter(([, { dead, limits }]) => dead >= Math.min(REPORT_AT, limits.minimum));
    if (floods.length > 0) await this.#report(floods);
  }

  /** Each second: the rest of the deaths, and the good events of windows that exist. */
  async flush(): Promise<void> {
    const all = [...this.#tallies];
    await this.#report(all.filter(([, { dead }]) => dead > 0));
    const good = all.filter(([, { dead, before }]) => dead === 0 && before > 0);
    if (good.length === 0) return;
    const sent = good.map(([, tally]) => ({ ...tally, events: tally.before }));
    const counted = await addGoodEvents(this.#store, sent);
    for (const [i, [, tally]] of good.entries()) if (counted.has(i)) tally.before = Math.max(0, tally.before - (sent[i]?.events ?? 0));
  }

  /** One report after another: a window sees this engine's events in order. */
  #report(tallies: readonly (readonly [string, Tally])[]): Promise<void> {
    this.#reporting = this.#reporting.then(async () => {
      for (const [key, tally] of tallies) {
        // Another report may have taken it meanwhile.
        if (this.#tallies.get(key) !== tally) continue;
        this.#tallies.delete(key);
        const { tenantId, limits, ...report } = tally;
        try {
          const reason = await reportDeaths(this.#store, tenantId, { ...report, deadShare: limits.deadShare, minimum: limits.minimum });
          if (reason !== undefined) this.#log.warn("too many events died", { pipelineId: report.pipelineId, version: report.version, reason });
        } catch (error) {
          this.#log.warn("a report of deaths is lost", { pipelineId: report.pipelineId, dead: report.dead, error });
        }
      }
    });
    return this.#reporting;
  }
}
