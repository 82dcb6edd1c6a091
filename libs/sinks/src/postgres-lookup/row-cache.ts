/**
 * Rows that lookups have found, for a short time. Bounded in bytes over all tenants; what was used longest ago goes first.
 * Invariant: only rows that there are: a key without one is asked for again each time, so a row that was added counts at once.
 */
import type { FoundRow } from "./lookup.ts";

type Entry = { readonly row: Extract<FoundRow, { kind: "row" }>; readonly size: number; readonly readAtMs: number };

/** Roughly what an entry weighs beside its JSON: keys, the map, the parsed object. */
const ENTRY_BYTES = 300;

export interface RowCache {
  get(table: string, key: string, maxAgeMs: number): FoundRow | undefined;
  set(table: string, key: string, row: Extract<FoundRow, { kind: "row" }>): void;
  readonly bytes: number;
}

/** `table` names everything that makes one table's rows differ from another's: tenant, connection, columns. */
export function createRowCache(maxBytes: number, nowMs: () => number): RowCache {
  const entries = new Map<string, Entry>();
  let bytes = 0;
  const remove = (id: string, { size }: Entry): void => {
    entries.delete(id);
    bytes -= size;
  };
  return {
    get(table, key, maxAgeMs) {
      const id = `${table}\n${key}`;
      const entry = entries.get(id);
      if (entry === undefined || nowMs() - entry.readAtMs >= maxAgeMs) return undefined;
      entries.delete(id);
      entries.set(id, entry);
      return entry.row;
    },
    set(table, key, row) {
      const id = `${table}\n${key}`;
      const known = entries.get(id);
      if (known !== undefined) remove(id, known);
      const entry = { row, size: ENTRY_BYTES + id.length * 2 + row.bytes * 2, readAtMs: nowMs() };
      entries.set(id, entry);
      bytes += entry.size;
      for (const [oldest, its] of entries) {
        if (bytes <= maxBytes) break;
        remove(oldest, its);
      }
    },
    get bytes() {
      return bytes;
    },
  };
}
