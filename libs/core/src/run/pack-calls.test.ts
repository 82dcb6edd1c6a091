import fc from "fast-check";
import { expect, it } from "vitest";
import { type Parcel, packCalls, partCall } from "./pack-calls.ts";
import { MAX_CALL_BYTES, MAX_CALL_RECORDS } from "./run.ts";

type Unit = { readonly id: number; readonly records: number; readonly bytes: number };

const parcels = fc
  .array(
    fc.array(fc.record({ records: fc.integer({ min: 1, max: 700 }), bytes: fc.integer({ min: 1, max: MAX_CALL_BYTES * 2 }) }), { maxLength: 8 }),
    { maxLength: 8 },
  )
  .map((groups) => {
    let id = 0;
    return groups.map((units, group): Parcel<number, Unit> => ({ group, units: units.map((unit) => ({ ...unit, id: id++ })) }));
  });
const idsOf = (call: readonly Parcel<number, Unit>[]): string[] => call.flatMap(({ group, units }) => units.map(({ id }) => `${group}/${id}`));

it("packs every unit once, in order, within the limits unless a unit alone passes them", () => {
  fc.assert(
    fc.property(parcels, (given) => {
      const calls = packCalls(given, (unit) => unit);
      expect(calls.flatMap(idsOf)).toEqual(idsOf(given));
      for (const call of calls) {
        const units = call.flatMap((parcel) => parcel.units);
        expect(units.length).toBeGreaterThan(0);
        if (units.length === 1) continue;
        expect(units.reduce((sum, unit) => sum + unit.records, 0)).toBeLessThanOrEqual(MAX_CALL_RECORDS);
        expect(units.reduce((sum, unit) => sum + unit.bytes, 0)).toBeLessThanOrEqual(MAX_CALL_BYTES);
      }
    }),
  );
});

it("parts a call down to single units and loses none", () => {
  fc.assert(
    fc.property(parcels, (given) => {
      const call = given.filter(({ units }) => units.length > 0);
      const singles: string[] = [];
      const queue = call.length === 0 ? [] : [call];
      for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
        const halves = partCall(next);
        if (halves === undefined) singles.push(...idsOf(next));
        else queue.push(halves[1], halves[0]);
      }
      expect(singles).toEqual(idsOf(call));
    }),
  );
});
