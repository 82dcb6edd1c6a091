import { type TenantId, toTenantId } from "@onedata/core";
import type { TenantFigures } from "@onedata/store";
import { describe, expect, it } from "vitest";
import { createQuotas, type FigureStore, type Quotas } from "./quotas.ts";

const TENANT: TenantId = toTenantId(1n);
const LOG = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** The figures of one tenant in memory, in minutes of a clock that the test turns. */
class Figures implements FigureStore {
  nowMs = 1_000_000_000_000;
  limits = { eventsPerSecond: 0, backlogBytesLimit: 0, backlogBytes: 0 };
  readonly #captured = new Map<number, number>();

  read(): Promise<readonly TenantFigures[]> {
    const minute = Math.floor(this.nowMs / 60_000);
    const of = (at: number): number => this.#captured.get(at) ?? 0;
    return Promise.resolve([{ tenantId: TENANT, ...this.limits, minute, captured: of(minute), capturedBefore: of(minute - 1) }]);
  }

  addCaptured(counts: readonly { readonly events: number }[]): Promise<void> {
    const minute = Math.floor(this.nowMs / 60_000);
    for (const { events } of counts) this.#captured.set(minute, (this.#captured.get(minute) ?? 0) + events);
    return Promise.resolve();
  }
}

const openGateway = (figures: Figures): Quotas => createQuotas(figures, LOG, () => figures.nowMs);

/** Sends as much as is let through in this second, at most `demand`. */
function send(quotas: Quotas, demand: number): number {
  for (let sent = 0; sent < demand; sent++) {
    try {
      quotas.admit(TENANT, 1, 100);
    } catch (error) {
      expect(error).toMatchObject({ code: "capture.quota_exceeded", retryAfterSeconds: 1 });
      return sent;
    }
    quotas.captured(7n, 1, 100);
  }
  return demand;
}

describe("quotas", () => {
  it("let one gateway through at the tenant's rate, from the second after it is known", async () => {
    const figures = new Figures();
    figures.limits.eventsPerSecond = 100;
    const gateway = openGateway(figures);
    gateway.admit(TENANT, 1, 100);
    await gateway.refresh();
    for (let second = 0; second < 70; second++) {
      figures.nowMs += 1_000;
      expect(send(gateway, 500)).toBe(100);
      await gateway.refresh();
    }
  });

  it("hold over two gateways together after some seconds, shut none out, and give all of it to one when the other is quiet", async () => {
    const figures = new Figures();
    figures.limits.eventsPerSecond = 100;
    const gateways = [openGateway(figures), openGateway(figures)];
    for (const gateway of gateways) {
      gateway.admit(TENANT, 1, 100);
      await gateway.refresh();
    }
    const turn = async (demands: readonly number[]): Promise<number[]> => {
      figures.nowMs += 400;
      const first = send(gateways[0] ?? expect.fail(), demands[0] ?? 0);
      await gateways[0]?.refresh();
      figures.nowMs += 600;
      const second = send(gateways[1] ?? expect.fail(), demands[1] ?? 0);
      await gateways[1]?.refresh();
      return [first, second];
    };
    const both: number[][] = [];
    for (let second = 0; second < 40; second++) both.push(await turn([500, 500]));
    const settled = both.slice(10);
    const sum = settled.flat().reduce((total, each) => total + each, 0) / settled.length;
    expect(sum).toBeGreaterThan(85);
    expect(sum).toBeLessThan(110);
    expect(Math.min(...settled.flat())).toBeGreaterThan(20);
    const alone: number[][] = [];
    for (let second = 0; second < 15; second++) alone.push(await turn([500, 0]));
    expect(alone.at(-1)?.[0]).toBeGreaterThan(90);
  });

  it("hold an import to what single events leave, and a slice is never more than half a second", async () => {
    const figures = new Figures();
    figures.limits.eventsPerSecond = 100;
    const gateway = openGateway(figures);
    gateway.admit(TENANT, 1, 100);
    await gateway.refresh();
    expect(gateway.importSlice(TENANT)).toBe(50);
    const never = new AbortController().signal;
    figures.nowMs += 1_000;
    await gateway.whenAdmitted(TENANT, 50, 100, never);
    // The next one waits until this one is paid for.
    const next = gateway.whenAdmitted(TENANT, 50, 100, never);
    let waited = true;
    void next.then(() => (waited = false));
    figures.nowMs += 490;
    await new Promise((wake) => setImmediate(wake));
    expect(waited).toBe(true);
    figures.nowMs += 20;
    await next;
  });

  it("let an import wait for its backlog to shrink, and end the wait with its sender", async () => {
    const figures = new Figures();
    figures.limits = { eventsPerSecond: 0, backlogBytesLimit: 1_000, backlogBytes: 900 };
    const gateway = openGateway(figures);
    gateway.admit(TENANT, 1, 10);
    await gateway.refresh();
    expect(() => gateway.admit(TENANT, 1, 200)).toThrow(expect.objectContaining({ code: "capture.quota_exceeded", retryAfterSeconds: 5 }));
    const gone = new AbortController();
    const stopped = gateway.whenAdmitted(TENANT, 10, 200, gone.signal);
    gone.abort();
    await expect(stopped).rejects.toMatchObject({ code: "aborted" });
    const waiting = gateway.whenAdmitted(TENANT, 10, 200, new AbortController().signal);
    figures.limits.backlogBytes = 0;
    await gateway.refresh();
    await waiting;
  });
});
