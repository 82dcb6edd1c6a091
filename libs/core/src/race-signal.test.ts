import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import { raceSignal } from "./race-signal.ts";

describe("a promise raced with a signal", () => {
  it("is what it would be, and leaves nothing with a signal that lives on", async () => {
    const { signal } = new AbortController();
    expect(await Promise.all([1, 2].map((n) => raceSignal(Promise.resolve(n), signal)))).toEqual([1, 2]);
    await expect(raceSignal(Promise.reject(new Error("its own")), signal)).rejects.toThrow("its own");
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  it("ends with the signal's reason, and its late failure is nobody's", async () => {
    const controller = new AbortController();
    let fail = (_error: Error): void => undefined;
    const raced = raceSignal(new Promise<never>((_, reject) => (fail = reject)), controller.signal);
    controller.abort(new Error("enough"));
    await expect(raced).rejects.toThrow("enough");
    await expect(raceSignal(Promise.resolve(1), controller.signal)).rejects.toThrow("enough");
    fail(new Error("late"));
  });
});
