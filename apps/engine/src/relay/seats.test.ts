import { describe, expect, it } from "vitest";
import { inTurn, looksAtOnce, seatsOf } from "./seats.ts";

const engines = ["b", "c", "a"];

describe("seats", () => {
  it("are one for all where a channel bears many receivers", () => {
    expect(seatsOf("q", "many", engines, "c")).toEqual({ channels: ["q"], own: "q" });
  });

  it("are one per living engine where a channel bears one", () => {
    expect(engines.map((engine) => seatsOf("q", "one", engines, engine).own)).toEqual(["q", "q.1", "q.2"]);
    expect(seatsOf("q", "one", engines, "c").channels).toEqual(["q", "q.1", "q.2"]);
  });

  it("are the shared one for an engine that is alone, or not known to be alive", () => {
    expect(seatsOf("q", "one", [], "a")).toEqual({ channels: ["q"], own: "q" });
    expect(seatsOf("q", "one", ["a"], "a")).toEqual({ channels: ["q"], own: "q" });
    expect(seatsOf("q", "one", engines, "z").own).toBe("q");
  });

  it("are served in turn, an idle engine's own first and a busy one's last", () => {
    const seats = seatsOf("q", "one", engines, "c");
    expect([0, 1, 2].map((turn) => inTurn(seats, false, turn))).toEqual([
      ["q.1", "q", "q.2"],
      ["q.1", "q.2", "q"],
      ["q.1", "q", "q.2"],
    ]);
    expect([0, 1].map((turn) => inTurn(seats, true, turn))).toEqual([
      ["q", "q.2", "q.1"],
      ["q.2", "q", "q.1"],
    ]);
    expect(inTurn({ channels: ["q"], own: "q" }, true, 5)).toEqual(["q"]);
  });

  it("have two relays look at every wake-up, and any that is not known to be alive", () => {
    expect(engines.map((engine) => looksAtOnce(engines, engine))).toEqual([true, true, false]);
    expect(looksAtOnce(engines, "z")).toBe(true);
    expect(looksAtOnce([], "a")).toBe(true);
  });
});
