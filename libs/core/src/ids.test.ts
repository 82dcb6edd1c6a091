import fc from "fast-check";
import { expect, it } from "vitest";
import { formatEventId, fromBase32, parseEventId, toBase32, toBatchId } from "./ids.ts";

it("reads back every id it writes", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }), fc.integer({ min: 0, max: 999_999 }), (id, n) => {
      expect(fromBase32(toBase32(id))).toBe(id);
      expect(parseEventId(formatEventId({ batchId: toBatchId(id), n }))).toEqual({ batchId: id, n });
    }),
  );
});

it.each([
  "",
  "evt_",
  "evt_1",
  "evt_u_0",
  "evt_1_01",
  "evt_1_-1",
  "imp_1_0",
  "evt_zzzzzzzzzzzzz_0",
  "evt_1_0 ",
])("takes %j for an unknown event", (text) => {
  expect(() => parseEventId(text)).toThrow(/no event/);
});
