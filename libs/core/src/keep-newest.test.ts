import { expect, it } from "vitest";
import { keepNewest } from "./keep-newest.ts";

it("removes what was set longest ago; what is set again is new", () => {
  const map = new Map<string, number>();
  for (const [at, key] of ["a", "b", "a", "c"].entries()) keepNewest(map, key, at, 2);
  expect([...map]).toEqual([
    ["a", 2],
    ["c", 3],
  ]);
});
