import { describe, expect, it } from "vitest";
import type { Json } from "../json.ts";
import { readSpec } from "./spec.ts";

describe("readSpec, selfPause", () => {
  it("fills what is not said with the defaults, and leaves a spec without it alone", () => {
    expect(readSpec({ name: "a", selfPause: { deadShare: 0.5 } }).spec?.selfPause).toEqual({ off: false, deadShare: 0.5, minimum: 200 });
    expect(readSpec({ name: "a", selfPause: { off: true } }).spec?.selfPause).toMatchObject({ off: true });
    expect(readSpec({ name: "a" }).spec?.selfPause).toBeUndefined();
  });

  it.each([
    [{ deadShare: 0 }, "/selfPause/deadShare"],
    [{ deadShare: "20%" }, "/selfPause/deadShare"],
    [{ minimum: 0.5 }, "/selfPause/minimum"],
    [{ off: "yes" }, "/selfPause/off"],
    [{ share: 1 }, "/selfPause/share"],
  ])("names the place of what is wrong in %j", (selfPause, pointer) => {
    expect(readSpec({ name: "a", selfPause }).violations.map((violation) => violation.pointer)).toEqual([pointer]);
  });
});

describe("readSpec, retries", () => {
  const spec = (retries: Json) => readSpec({ name: "a", steps: [{ id: "s", use: "record.map", retries }], sinks: [{ use: "http.post", retries }] });

  it.each([0, 4, 100])("takes %i of a step and of a sink", (retries) => {
    expect(spec(retries).spec).toMatchObject({ steps: [{ retries }], sinks: [{ retries }] });
  });

  it.each([-1, 101, 1.5, "3", true])("refuses %j, with its place and the bounds", (retries) => {
    expect(spec(retries).violations).toEqual(
      ["/steps/0/retries", "/sinks/0/retries"].map((pointer) => ({
        pointer,
        code: "spec.type",
        detail: expect.stringContaining("from 0 to 100; 4 if absent"),
      })),
    );
  });
});
