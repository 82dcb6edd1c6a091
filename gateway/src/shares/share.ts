/**
 * A bounded good that tenants share: bytes held in memory, waiters, imports being received. Counts and says no; holds nothing itself.
 *
 * The rule is that of dynamic thresholds in shared-memory switches (Choudhury and Hahne, 1998), with factor one: a tenant may hold as much as is free. Alone it
 * gets a half, beside one other greedy tenant a third, and so on; whoever comes new always finds something, without a list of who might come.
 * Invariants: never more than the limit is taken by `take`; what is given back was taken; a tenant that holds nothing is not remembered.
 */
import { OneDataError, type TenantId } from "@onedata/core";

export interface Share {
  /** Takes `units` for the tenant; throws `tenant.share_exceeded` (it holds its share already) or `capture.overloaded` (there is nothing left). */
  take(tenantId: TenantId, units: number): void;
  tryTake(tenantId: TenantId, units: number): boolean;
  /** Takes what is there already, whatever the limit: the next `take` reckons with it. */
  charge(tenantId: TenantId, units: number): void;
  give(tenantId: TenantId, units: number): void;
  readonly figures: ShareFigures;
}

export type ShareFigures = {
  readonly limit: number;
  readonly used: number;
  /** Who hold anything. */
  readonly tenants: number;
  /** What the largest of them holds. */
  readonly largest: number;
  readonly refused: number;
};

/** `advice` says what a tenant can do that holds too much: it ends the problem's detail. */
export function createShare(limit: number, what: string, advice: string): Share {
  const held = new Map<TenantId, number>();
  let used = 0;
  let refused = 0;

  function tryTake(tenantId: TenantId, units: number): boolean {
    const own = held.get(tenantId) ?? 0;
    if (own + units > limit - used) {
      refused += 1;
      return false;
    }
    held.set(tenantId, own + units);
    used += units;
    return true;
  }

  return {
    tryTake,
    take(tenantId, units) {
      if (tryTake(tenantId, units)) return;
      throw held.has(tenantId)
        ? new OneDataError("tenant.share_exceeded", `the tenant has too ${what} at once: ${advice}`, { retryAfterSeconds: 1 })
        : new OneDataError("capture.overloaded", `the gateway has too ${what} at once: try again`, { retryAfterSeconds: 1 });
    },
    charge(tenantId, units) {
      held.set(tenantId, (held.get(tenantId) ?? 0) + units);
      used += units;
    },
    give(tenantId, units) {
      const left = (held.get(tenantId) ?? 0) - units;
      used -= units;
      if (left > 0) held.set(tenantId, left);
      else held.delete(tenantId);
    },
    get figures() {
      return { limit, used, tenants: held.size, largest: Math.max(0, ...held.values()), refused };
    },
  };
}
