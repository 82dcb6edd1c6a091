/**
 * Quotas of tenants: events per second and bytes waiting, compared with figures refreshed each second. Overshooting by a second is allowed and documented.
 *
 * Duty: single events are refused over a quota, imports wait. Non-duty: the number of pipelines (control checks it).
 * Invariants:
 * 1. Gateways share a tenant's rate without talking to each other: each second all of them see what was captured in sum; over the quota everybody takes less
 *    in proportion, under it everybody takes half of what is left more. Two that begin at full rate are within it after some seconds.
 * 2. An import takes what single events leave of the rate, at least a tenth, in slices of a second; each slice is paid for before the next.
 * 3. A tenant that is not known yet is admitted.
 */
import { OneDataError, type TenantId } from "@onedata/core";
import { sleep } from "@onedata/mesh";
import type { CapturedCount, TenantFigures } from "@onedata/store";
import type { Log } from "../http/seam.ts";

export interface FigureStore {
  read(tenants: readonly TenantId[]): Promise<readonly TenantFigures[]>;
  addCaptured(counts: readonly CapturedCount[]): Promise<void>;
}

export interface Quotas {
  /** Counts the events in, or throws `capture.quota_exceeded`. */
  admit(tenantId: TenantId, events: number, bytes: number): void;
  /** The same for a slice of an import: waits instead. Rejects when the signal aborts. */
  whenAdmitted(tenantId: TenantId, events: number, bytes: number, signal: AbortSignal): Promise<void>;
  /** How many records of an import may be written at once. */
  importSlice(tenantId: TenantId): number;
  /** What was really captured, for people's figures. */
  captured(pipelineId: bigint, events: number, bytes: number): void;
  refresh(): Promise<void>;
}

type Tenant = {
  /** Of the tenant, over all gateways; 0 = no limit. */
  rate: number;
  /** This gateway's part of it. */
  allowance: number;
  /** What was captured in sum when it was last looked, and when that was; the rate since, smoothed. */
  seen: { readonly minute: number; readonly captured: number; readonly atMs: number } | undefined;
  observed: number;
  backlogLimit: number;
  backlog: number;
  second: number;
  used: number;
  /** Single events in the second before. */
  usedBefore: number;
  /** When the import's last slice is paid for. */
  importAtMs: number;
};

/** An import keeps this part of the rate beside single events that would take all of it. */
const IMPORT_RESERVE = 0.1;
/** No gateway takes less than this part, so that none is shut out for ever. */
const SMALLEST_PART = 0.02;
const WAIT_MS = 200;
const NO_LIMIT = Number.MAX_SAFE_INTEGER;

export function createQuotas(store: FigureStore, log: Log, now: () => number = Date.now): Quotas {
  const tenants = new Map<TenantId, Tenant>();
  let counts = new Map<bigint, { events: number; bytes: number }>();

  function find(tenantId: TenantId): Tenant {
    let tenant = tenants.get(tenantId);
    if (tenant === undefined) {
      tenant = {
        rate: 0,
        allowance: 0,
        seen: undefined,
        observed: 0,
        backlogLimit: 0,
        backlog: 0,
        second: 0,
        used: 0,
        usedBefore: 0,
        importAtMs: 0,
      };
      tenants.set(tenantId, tenant);
    }
    return tenant;
  }

  function turnSecond(tenant: Tenant): void {
    const second = Math.floor(now() / 1000);
    if (tenant.second === second) return;
    tenant.usedBefore = tenant.second === second - 1 ? tenant.used : 0;
    tenant.second = second;
    tenant.used = 0;
  }

  function tryImport(tenant: Tenant, events: number, bytes: number): boolean {
    const at = now();
    if (tenant.rate > 0) {
      turnSecond(tenant);
      if (tenant.importAtMs > at) return false;
    }
    // A slice that is larger than the whole quota goes when nothing else waits.
    if (tenant.backlogLimit > 0 && tenant.backlog > 0 && tenant.backlog + bytes > tenant.backlogLimit) return false;
    tenant.backlog += bytes;
    if (tenant.rate > 0) {
      const left = Math.max(tenant.rate * IMPORT_RESERVE, tenant.allowance - Math.max(tenant.used, tenant.usedBefore));
      tenant.importAtMs = at + (1000 * events) / left;
    }
    return true;
  }

  function observe(tenant: Tenant, { eventsPerSecond, minute, captured, capturedBefore }: TenantFigures, atMs: number): void {
    if (eventsPerSecond !== tenant.rate) {
      tenant.rate = eventsPerSecond;
      tenant.allowance = eventsPerSecond;
      tenant.seen = undefined;
      tenant.observed = 0;
    }
    if (tenant.rate === 0) return;
    const { seen } = tenant;
    tenant.seen = { minute, captured, atMs };
    if (seen === undefined || atMs <= seen.atMs || minute < seen.minute || minute > seen.minute + 1) return;
    const fresh = minute === seen.minute ? captured - seen.captured : captured + capturedBefore - seen.captured;
    // Gateways add their counts once a second, each at its own moment: a single look sees none or two of another's.
    tenant.observed = (tenant.observed + (1000 * fresh) / (atMs - seen.atMs)) / 2;
    const wanted =
      tenant.observed > tenant.rate ? (tenant.allowance * tenant.rate) / tenant.observed : tenant.allowance + (tenant.rate - tenant.observed) / 2;
    tenant.allowance = Math.min(tenant.rate, Math.max(wanted, tenant.rate * SMALLEST_PART, 1));
  }

  return {
    admit(tenantId, events, bytes) {
      const tenant = find(tenantId);
      if (tenant.rate > 0) {
        turnSecond(tenant);
        if (tenant.used + events > tenant.allowance && tenant.used > 0) {
          throw new OneDataError("capture.quota_exceeded", `the tenant may send ${tenant.rate} events per second: slow down, or use an import`, {
            retryAfterSeconds: 1,
          });
        }
      }
      if (tenant.backlogLimit > 0 && tenant.backlog + bytes > tenant.backlogLimit) {
        throw new OneDataError(
          "capture.quota_exceeded",
          `${tenant.backlog} bytes of the tenant wait to be processed, of ${tenant.backlogLimit} allowed: wait until they are`,
          { retryAfterSeconds: 5 },
        );
      }
      tenant.used += events;
      tenant.backlog += bytes;
    },
    async whenAdmitted(tenantId, events, bytes, signal) {
      const tenant = find(tenantId);
      if (tenant.rate === 0 && tenant.backlogLimit === 0) {
        tenant.backlog += bytes;
        return;
      }
      while (!tryImport(tenant, events, bytes)) {
        await sleep(Math.max(1, Math.min(WAIT_MS, tenant.rate === 0 ? WAIT_MS : tenant.importAtMs - now())), signal);
        if (signal.aborted) throw OneDataError.from(signal.reason);
      }
    },
    importSlice(tenantId) {
      const { rate } = find(tenantId);
      return rate === 0 ? NO_LIMIT : Math.max(1, Math.floor(rate / 2));
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
          const tenant = tenants.get(figures.tenantId);
          if (tenant === undefined) continue;
          observe(tenant, figures, now());
          tenant.backlogLimit = figures.backlogBytesLimit;
          tenant.backlog = figures.backlogBytes;
        }
      } catch (error) {
        log.warn("quotas could not be refreshed", { error });
      }
    },
  };
}
