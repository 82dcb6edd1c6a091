import { describe, expect, it } from "vitest";
import { createCallPace } from "./call-pace.ts";

const setup = () => {
  let nowMs = 0;
  const caller = new AbortController();
  const open = createCallPace(caller.signal, () => nowMs);
  const record = async (pace: ReturnType<typeof open>, tookMs: number): Promise<boolean> => {
    const goesOn = await pace.begin();
    nowMs += tookMs;
    if (goesOn) pace.end();
    return goesOn;
  };
  return { caller, open, record };
};

describe("the pace of a call", () => {
  it("cuts a group whose records are slow, and never its neighbour", async () => {
    const { open, record } = setup();
    const [slow, usual] = [open(), open()];
    expect([await record(slow, 600), await record(slow, 600), await record(slow, 600)]).toEqual([true, true, false]);
    for (let i = 0; i < 100; i++) expect(await record(usual, 30)).toBe(true);
  });

  it("lets others have their turn, and ends when nobody waits for the answer", async () => {
    const { caller, open, record } = setup();
    const pace = open();
    let turns = 0;
    setImmediate(() => turns++);
    await record(pace, 25);
    expect(turns).toBe(0);
    await record(pace, 25);
    expect(turns).toBe(1);
    caller.abort();
    await expect(record(pace, 1)).rejects.toMatchObject({ code: "aborted" });
  });
});
