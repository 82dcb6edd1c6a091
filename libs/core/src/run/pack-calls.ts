/** Cuts work into calls of at most MAX_CALL_RECORDS and MAX_CALL_BYTES, and parts a call that failed for its data. */
import { MAX_CALL_BYTES, MAX_CALL_RECORDS } from "./run.ts";

/** Units of one group in one call. A unit is never cut: a record on its way into a step, or all outputs of one event on their way into a sink. */
export type Parcel<G, U> = { readonly group: G; readonly units: readonly U[] };

export function packCalls<G, U>(parcels: readonly Parcel<G, U>[], sizeOf: (unit: U) => { records: number; bytes: number }): Parcel<G, U>[][] {
  const calls: Parcel<G, U>[][] = [];
  let call: Parcel<G, U>[] = [];
  let records = 0;
  let bytes = 0;
  for (const { group, units } of parcels) {
    let open: U[] = [];
    for (const unit of units) {
      const size = sizeOf(unit);
      if (records > 0 && (records + size.records > MAX_CALL_RECORDS || bytes + size.bytes > MAX_CALL_BYTES)) {
        if (open.length > 0) call.push({ group, units: open });
        calls.push(call);
        call = [];
        open = [];
        records = 0;
        bytes = 0;
      }
      open.push(unit);
      records += size.records;
      bytes += size.bytes;
    }
    if (open.length > 0) call.push({ group, units: open });
  }
  if (call.length > 0) calls.push(call);
  return calls;
}

/**
 * Two halves of a call that failed for its data, or `undefined` if it is one unit already. Groups are parted before units, so a
 * poisoned pipeline leaves its neighbours after log2(groups) calls; one bad unit in 500 is found within 19 calls.
 */
export function partCall<G, U>(call: readonly Parcel<G, U>[]): [Parcel<G, U>[], Parcel<G, U>[]] | undefined {
  if (call.length > 1) {
    const middle = call.length >> 1;
    return [call.slice(0, middle), call.slice(middle)];
  }
  const [only] = call;
  if (only === undefined || only.units.length < 2) return undefined;
  const middle = only.units.length >> 1;
  return [[{ group: only.group, units: only.units.slice(0, middle) }], [{ group: only.group, units: only.units.slice(middle) }]];
}
