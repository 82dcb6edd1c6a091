import { describe, expect, it } from "vitest";
import { createServiceLimit } from "./service-limit.ts";

const never = new AbortController().signal;
const settled = async (promise: Promise<unknown>): Promise<boolean> =>
  Promise.race([promise.then(() => true), new Promise<false>((done) => setImmediate(() => done(false)))]);

describe("the limit of calls per service", () => {
  it("lets so many in, the next in turn, and others' services through", async () => {
    const limit = createServiceLimit({ maxCalls: 2, maxWaitMs: 10_000 });
    const [first, second] = [await limit.enter("slow", never), await limit.enter("slow", never)];
    const third = limit.enter("slow", never);
    const fourth = limit.enter("slow", never);
    expect(await settled(third)).toBe(false);
    expect(await settled(limit.enter("other", never))).toBe(true);
    first();
    first();
    expect(await settled(third)).toBe(true);
    expect(await settled(fourth)).toBe(false);
    second();
    expect(await settled(fourth)).toBe(true);
    for (const leave of [await third, await fourth]) leave();
    expect(await settled(limit.enter("slow", never))).toBe(true);
  });

  it("gives up after a while, and with the signal, and keeps its places", async () => {
    const limit = createServiceLimit({ maxCalls: 1, maxWaitMs: 20 });
    const leave = await limit.enter("hangs", never);
    await expect(limit.enter("hangs", never)).rejects.toThrow(/1 calls to it are in flight and none ended within 0.02 s/);
    const stop = new AbortController();
    const waiting = limit.enter("hangs", stop.signal);
    stop.abort();
    await expect(waiting).rejects.toThrow();
    leave();
    expect(await settled(limit.enter("hangs", never))).toBe(true);
  });
});
