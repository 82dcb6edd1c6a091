import { type TenantId, toTenantId } from "@onedata/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createShare } from "./share.ts";

const tenant = (n: number): TenantId => toTenantId(BigInt(n));
const fill = (share: ReturnType<typeof createShare>, n: number): number => {
  let taken = 0;
  while (share.tryTake(tenant(n), 1)) taken += 1;
  return taken;
};

describe("a share of the gateway", () => {
  it("gives one tenant a half, and everybody who comes later something", () => {
    const share = createShare(1_200, "much", "wait");
    expect([1, 2, 3, 4].map((n) => fill(share, n))).toEqual([600, 300, 150, 75]);
    expect(share.figures).toMatchObject({ used: 1_125, tenants: 4, largest: 600 });
  });

  it("says whether the tenant has too much or the gateway has nothing left", () => {
    const share = createShare(10, "much in flight", "wait for answers");
    share.take(tenant(1), 5);
    expect(() => share.take(tenant(1), 1)).toThrow(expect.objectContaining({ code: "tenant.share_exceeded", retryAfterSeconds: 1 }));
    share.charge(tenant(2), 10);
    expect(() => share.take(tenant(3), 1)).toThrow(expect.objectContaining({ code: "capture.overloaded", retryAfterSeconds: 1 }));
  });

  it("never exceeds its limit, keeps a tenant's hold below what is left, and forgets who holds nothing", () => {
    const step = fc.record({ who: fc.integer({ min: 1, max: 4 }), units: fc.integer({ min: 1, max: 40 }), back: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const share = createShare(100, "much", "wait");
        const held = new Map<number, number[]>();
        for (const { who, units, back } of steps) {
          const own = held.get(who) ?? [];
          held.set(who, own);
          const last = back ? own.pop() : undefined;
          if (last !== undefined) share.give(tenant(who), last);
          else if (share.tryTake(tenant(who), units)) own.push(units);
          const sums = [...held.values()].map((each) => each.reduce((sum, one) => sum + one, 0));
          const used = sums.reduce((sum, each) => sum + each, 0);
          expect(share.figures).toMatchObject({ used, largest: Math.max(0, ...sums), tenants: sums.filter((each) => each > 0).length });
          expect(used).toBeLessThanOrEqual(100);
        }
      }),
    );
  });
});
