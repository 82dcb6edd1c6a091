import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GUILTY_AFTER, pieceSize } from "./suspicion.ts";

/** What engines do with a suspect: a piece without the guilty event is final, one with it is a crash. */
function hunt(size: number, guilty: number): { dead: number; crashes: number; runs: number } {
  let left = Array.from({ length: size }, (_, n) => n);
  let crashes = 2;
  for (let runs = 0; left.length > 0 && runs < 10_000; runs++) {
    const piece = pieceSize(crashes);
    if (piece === 0) return { dead: left[0] ?? -1, crashes, runs };
    if (left.slice(0, piece).includes(guilty)) crashes++;
    else left = left.slice(piece);
  }
  return { dead: -1, crashes, runs: -1 };
}

describe("suspects", () => {
  it("find the guilty event, and no other, after as many crashes wherever it stands", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 500 }).chain((size) => fc.tuple(fc.constant(size), fc.nat(size - 1))),
        ([size, guilty]) => {
          const found = hunt(size, guilty);
          expect(found).toMatchObject({ dead: guilty, crashes: GUILTY_AFTER });
          expect(found.runs).toBeLessThan(size / 25 + 20);
        },
      ),
    );
  });

  it("run whole before they are parted", () => {
    expect([0, 1, 2, 3, 4, 5, 6, 7].map(pieceSize)).toEqual([Infinity, Infinity, Infinity, 25, 5, 1, 1, 0]);
  });
});
