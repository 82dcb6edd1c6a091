import { toBatchId, toLaneId } from "@onedata/core";
import type { ClaimedBatch } from "@onedata/store";
import { describe, expect, it } from "vitest";
import { selectWork } from "./select-work.ts";

type Given = { readonly lane?: number; readonly ordered?: boolean; readonly part?: number; readonly version?: number };

/** Batches in the order of their claim, numbered from 0. */
const select = (...given: Given[]) => {
  const batches = given.map(
    ({ lane = 1, ordered = false, part = 0, version = 1 }, i) =>
      ({ batchId: toBatchId(BigInt(i)), laneId: toLaneId(BigInt(lane)), ordered, part, version }) as ClaimedBatch,
  );
  const { batches: kept, apart } = selectWork({ batches });
  return { runs: kept.map(({ batchId }) => Number(batchId)), apart: apart.map(Number) };
};

describe("what of a claim runs", () => {
  it("is all of it, as a rule", () => {
    expect(select({}, { lane: 2 }, { ordered: true, lane: 3 }, { ordered: true, lane: 3 })).toEqual({ runs: [0, 1, 2, 3], apart: [] });
  });

  it("is one half of a crashed run, and what never crashed", () => {
    expect(select({ part: 1 }, {}, { part: 2 }, { part: 1 }, { part: 2 })).toEqual({ runs: [0, 1, 3], apart: [2, 4] });
    expect(select({ part: 2 }, {}, { part: 2 })).toEqual({ runs: [0, 1, 2], apart: [] });
  });

  it("is nothing behind what goes back, where order counts", () => {
    const lane = { ordered: true, lane: 7 };
    expect(select({ ...lane, part: 1 }, { ...lane, part: 2 }, lane, { ordered: true, lane: 8 })).toEqual({ runs: [0, 3], apart: [1, 2] });
  });

  it("is one version per ordered lane: a later one could overtake", () => {
    const lane = { ordered: true, lane: 7 };
    expect(select({ ...lane, version: 1 }, { ...lane, version: 2 }, { ...lane, version: 1 }, { lane: 1, version: 2 })).toEqual({
      runs: [0, 3],
      apart: [1, 2],
    });
  });
});
