/**
 * Quotas of tenants: events per second and bytes waiting, compared with figures refreshed each second. Overshooting by a second is allowed and documented.
 * The rate is counted by each gateway for itself: several let through several times as much. A tenant that is not known yet is admitted.
 */
import { OneDataError, type TenantId } from "@onedata/core";
import type { CapturedCount, TenantFigures } from "@onedata/store";
import type { Log } from "../http/seam.ts";

export interface FigureStore {
  read(tenants: readonly TenantId[]): Promise<readonly TenantFigures[]>;
  addCaptured(counts: readonly CapturedCount[]): Promise<void>;
}

export interface Quotas {
  /** Counts the events in, or throws `capture.quota_exceeded`. */
  admit(tenantId: TenantId, events: number, bytes: number): void;
  /** What was really captured, for people's figures. */
  captured(pipelineId: bigint, events: number, bytes: number): void;
  refresh(): Promise<void>;
}

type Tenant = { rate: number; backlogLimit: number; backlog: number; second: number; used: number };

export function createQuotas(store: FigureStore, log: Log, now: () => number = Date.now): Quotas {
  const tenants = new Map<TenantId, Tenant>();
  let counts = new Map<bigint, { events: number; bytes: number }>();
  return {
    admit(tenantId, events, bytes) {
      let tenant = tenants.get(tenantId);
      if (tenant === undefined) {
        tenant = { rate: 0, backlogLimit: 0, backlog: 0, second: 0, used: 0 };
        tenants.set(tenantId, tenant);
      }
      if (tenant.rate > 0) {
        const second = Math.floor(now() / 1000);
        if (tenant.second !== second) {
          tenant.second = second;
          tenant.used = 0;
        }
        if (tenant.used + events > tenant.rate && tenant.used > 0) {
          throw new OneDataError("capture.quota_exceeded", `the tenant may send ${tenant.rate} events per second: slow down, or use an import`, {
            retryAfterSeconds: 1,
          });
        }
        tenant.used += events;
      }
      if (tenant.backlogLimit > 0) {
        if (tenant.backlog + bytes > tenant.backlogLimit) {
          throw new OneDataError(
            "capture.quota_exceeded",
            `${tenant.backlog} bytes of the tenant wait to be processed, of ${tenant.backlogLimit} allowed: wait until they are`,
            { retryAfterSeconds: 5 },
          );
        }
        tenant.backlog += bytes;
      }
    },
    captured(pipelineId, events, bytes) {
      const count = counts.get(pipelineId);
      if (count === undefined) counts.set(pipelineId, { events, bytes });
      else {
        count.events += events;
        count.bytes += bytes;
      }
    },
    async refresh() {
      const flushed = counts;
      counts = new Map();
      try {
        if (flushed.size > 0) await store.addCaptured([...flushed].map(([pipelineId, count]) => ({ pipelineId, ...count })));
        if (tenants.size === 0) return;
        for (const figures of await store.read([...tenants.keys()])) {
          for (const [tenantId, tenant] of tenants) {
            if (tenantId !== figures.tenantId) continue;
            tenant.rate = figures.eventsPerSecond;
            tenant.backlogLimit = figures.backlogBytesLimit;
            tenant.backlog = figures.backlogBytes;
          }
        }
      } catch (error) {
        log.warn("quotas could not be refreshed", { error });
      }
    },
  };
}
