/**
 * Looks after the installation: a pass each minute by one of all control processes, its result kept and shown by each, a warning per new finding.
 * Non-duty: the checks (`@onedata/store`), what to do about them (people, sweeps).
 */
import { OneDataError } from "@onedata/core";
import { sleep } from "@onedata/mesh";
import { type Finding, readFindings, readSystemFigures, reconcile, reconcilePass, type SystemFigures, worstFirst } from "@onedata/store";
import type { RetentionDays } from "@onedata/store/retention";
import { type LedgerPorts, lookAtLedgers } from "./ledgers.ts";
import { toMetrics } from "./metrics.ts";
import { lookAtRetention } from "./retention.ts";

export type WatchPorts = LedgerPorts & {
  /** The operator's maximum for tenants. */
  readonly maxRetention: RetentionDays;
  /** `unreachable`: services that did not describe themselves, by address; `refresh` asks them again. */
  readonly services: { readonly unreachable: ReadonlyMap<string, string>; refresh(): Promise<void> };
  readonly log: { warn(message: string, fields: Readonly<Record<string, unknown>>): void };
  readonly now: () => number;
  readonly random: () => number;
  readonly everyMs?: number;
};

export interface Watch {
  /** Until aborted. Never rejects. */
  run(signal: AbortSignal): Promise<void>;
  /** One round of `run`. */
  look(): Promise<void>;
  /** A look now, the worst first. */
  diagnose(options: { readonly deep: boolean; readonly signal: AbortSignal }): Promise<readonly Finding[]>;
  /** OpenMetrics text of what was seen last. */
  metrics(): string;
}

const EVERY_MS = 60_000;
/** Processes of an installation start together: what is not up yet is no finding. */
const FIRST_LOOK_MS = 15_000;

export function createWatch({ services, maxRetention, log, now, random, everyMs = EVERY_MS, ...ledgers }: WatchPorts): Watch {
  const { sql, box } = ledgers;
  const lookAtDays = (): Promise<readonly Finding[]> => lookAtRetention(sql, { max: maxRetention, now: new Date(now()) });
  const options = { random, now, secretKeyId: box.keyId };
  let last: { readonly findings: readonly Finding[]; readonly figures: SystemFigures; readonly seenAtMs: number | undefined } | undefined;
  // Two looks at once tell no more than one, and cost twice.
  let looking: Promise<readonly Finding[]> | undefined;
  const watch: Watch = {
    async run(signal) {
      await sleep(FIRST_LOOK_MS, signal);
      while (!signal.aborted) {
        try {
          await watch.look();
        } catch (error) {
          if (!signal.aborted) log.warn("the reconciler could not look", { error: OneDataError.from(error).message });
        }
        await sleep(everyMs, signal);
      }
    },
    async look() {
      // A little less, so that this process's own next round does not come a moment too early.
      const pass = await reconcilePass(sql, { ...options, everyMs: everyMs * 0.9 });
      for (const { check, state, detail, advice, examples } of pass?.worse ?? []) log.warn(`${check}: ${detail}`, { check, state, advice, examples });
      const kept = await readFindings(sql);
      const seenAtMs = kept.length === 0 ? undefined : Math.max(...kept.map(({ seenAt }) => seenAt.getTime()));
      last = { findings: [...kept, ...(await lookAtDays())], figures: await readSystemFigures(sql), seenAtMs };
    },
    async diagnose({ deep, signal }) {
      looking ??= reconcile(sql, options).finally(() => {
        looking = undefined;
      });
      const [seen, days, deeper] = await Promise.all([
        looking,
        lookAtDays(),
        deep ? lookAtLedgers(ledgers, signal) : [],
        // They may have come back since they were asked last.
        services.unreachable.size > 0 ? services.refresh() : undefined,
      ]);
      return worstFirst([...seen, lookAtServices(services.unreachable), ...days, ...deeper]);
    },
    metrics() {
      const age = last?.seenAtMs === undefined ? undefined : Math.max(0, (now() - last.seenAtMs) / 1000);
      return toMetrics(last?.findings ?? [], last?.figures, age);
    },
  };
  return watch;
}

function lookAtServices(unreachable: ReadonlyMap<string, string>): Finding {
  const [first] = unreachable;
  const shared = { check: "services.reachable", count: unreachable.size, examples: [...unreachable.keys()].slice(0, 5), tookMs: 0 };
  if (first === undefined) return { ...shared, state: "ok", detail: "every service describes itself", advice: "" };
  return {
    ...shared,
    state: "warning",
    detail: `${unreachable.size} services do not describe themselves; ${first[0]}: ${first[1]}`,
    advice: "start the service, or correct its address; pipelines that use it wait meanwhile, and nothing is lost",
  };
}
