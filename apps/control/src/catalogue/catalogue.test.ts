/** When services are asked what they offer. */
import { transformV1 } from "@onedata/contracts";
import { expect, it } from "vitest";
import { createCatalogue, type DescribedService } from "./catalogue.ts";

/** Answers from the `from`th time it is asked on. */
function serviceThatComes(name: string, from: number): DescribedService & { asked(): number } {
  let asked = 0;
  return {
    kind: "operation",
    address: `dns:///${name}`,
    asked: () => asked,
    async describe() {
      if (++asked < from) throw new Error("connection refused");
      return { service: name, operations: [transformV1.Operation.fromPartial({ name: `${name}.do`, shape: "map", effects: "none" })] };
    },
  };
}

it("waits for a service that starts beside it before it calls a name unknown", async () => {
  const late = serviceThatComes("late", 4);
  const catalogue = createCatalogue([serviceThatComes("early", 1), late]);
  expect((await catalogue.read(["early.do"])).has("late.do")).toBe(false);
  expect((await catalogue.read(["early.do", "late.do"])).has("late.do")).toBe(true);
  expect(late.asked()).toBe(4);
});

it("does not wait for what nobody offers: once all have answered, or none that is away can be starting any more", async () => {
  const all = createCatalogue([serviceThatComes("early", 1)]);
  expect((await all.read(["nobodys.do"])).has("early.do")).toBe(true);

  let nowMs = 0;
  const away = serviceThatComes("away", Number.POSITIVE_INFINITY);
  const catalogue = createCatalogue([serviceThatComes("early", 1), away], { nowMs: () => nowMs });
  await catalogue.refresh();
  nowMs = 60_001;
  expect((await catalogue.read(["away.do"])).has("away.do")).toBe(false);
  expect(away.asked()).toBe(2);
  expect([...catalogue.unreachable]).toEqual([["dns:///away", "connection refused"]]);
});
