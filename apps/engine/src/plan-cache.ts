/** Plans in memory: versions are immutable. Bounded; the least recently used goes first. */
import { keepNewest, type PipelineId, type Plan } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import { loadPlans, type Store } from "@onedata/store";

export type PlannedVersion = { readonly pipeline: string; readonly plan: Plan };

const MAX_PLANS = 2000;

export interface PlanCache {
  /** Reads all that are missing in one query. A version that is gone (its pipeline was removed) is absent. */
  load(versions: readonly { readonly pipelineId: PipelineId; readonly version: number }[]): Promise<ReadonlyMap<string, PlannedVersion>>;
}

export const versionKey = (pipelineId: PipelineId, version: number): string => `${pipelineId}:${version}`;

export function createPlanCache(store: Store): PlanCache {
  const cache = new Map<string, PlannedVersion>();
  const keep = (key: string, planned: PlannedVersion): void => keepNewest(cache, key, planned, MAX_PLANS);
  return {
    async load(versions) {
      const wanted = new Map(versions.map((v) => [versionKey(v.pipelineId, v.version), v]));
      const found = new Map<string, PlannedVersion>();
      for (const key of wanted.keys()) {
        const planned = cache.get(key);
        if (planned === undefined) continue;
        keep(key, planned);
        found.set(key, planned);
      }
      const missing = [...wanted].filter(([key]) => !found.has(key)).map(([, version]) => version);
      if (missing.length === 0) return found;
      for (const planned of await loadPlans(store, missing)) {
        const key = versionKey(planned.pipelineId, planned.version);
        // Written by the planner and immutable since: its shape is not checked again.
        const version = { pipeline: planned.pipeline, plan: parseJson(planned.planJson) as unknown as Plan };
        keep(key, version);
        found.set(key, version);
      }
      return found;
    },
  };
}
