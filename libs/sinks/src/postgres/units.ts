/**
 * The unit of a Postgres write is an input ordinal: all its outputs go in one transaction, and they are stored or refused together.
 */
import { DUPLICATE, refused, type SinkGroup, type SinkRecord, type SourceEvent, type WriteOutcome, type WriteOutcomes } from "../sink.ts";
import { keyText, type LedgerEntry, type LedgerKey } from "./ledger.ts";
import { createRowReader, type Row } from "./rows.ts";
import type { PostgresSinkConfig } from "./sink-config.ts";
import type { Table } from "./tables.ts";

export type Unit = { readonly source: SourceEvent; readonly records: readonly SinkRecord[]; readonly rows: readonly Row[] };

/** A group whose table is known. `units` are what is still to be written. */
export type Part = { readonly group: SinkGroup; readonly config: PostgresSinkConfig; readonly table: Table; readonly units: readonly Unit[] };

export const ledgerKey = (part: Part, source: SourceEvent): LedgerKey => ({
  batchId: source.batchId,
  generation: source.generation,
  sink: part.group.sinkId,
});

/**
 * Cuts a group into units. An event that came twice (two replays of one dead event in one run) is taken once; `seen` spans the groups of a transaction.
 */
export function toUnits(group: SinkGroup, seen: Set<string>, outcomes: WriteOutcomes): readonly Unit[] {
  const bySource = new Map<string, { source: SourceEvent; records: SinkRecord[]; keys: Set<string> }>();
  for (const record of group.records) {
    const id = sourceText(record.source);
    let unit = bySource.get(id);
    if (unit === undefined) bySource.set(id, (unit = { source: record.source, records: [], keys: new Set() }));
    if (record.key !== "" && unit.keys.has(record.key)) outcomes.set(record.n, DUPLICATE);
    else {
      unit.keys.add(record.key);
      unit.records.push(record);
    }
  }
  for (const source of group.empty) {
    const id = sourceText(source);
    if (!bySource.has(id)) bySource.set(id, { source, records: [], keys: new Set() });
  }
  const taken: Unit[] = [];
  for (const [id, unit] of bySource) {
    const global = `${id}/${group.sinkId}`;
    if (seen.has(global)) settle(unit, outcomes, DUPLICATE);
    else {
      seen.add(global);
      taken.push({ source: unit.source, records: unit.records, rows: [] });
    }
  }
  return taken;
}

/**
 * Reads the rows of units, also again after the table has changed. Records that no table could take get their outcome here, with all outputs of their event.
 */
export function readRows(input: Omit<Part, "units">, units: readonly Unit[], outcomes: WriteOutcomes): readonly Unit[] {
  const read = createRowReader(input.config, input.table);
  const readable: Unit[] = [];
  for (const unit of units) {
    const rows: Row[] = [];
    let bad: { n: number; refusal: WriteOutcome } | undefined;
    for (const record of unit.records) {
      const result = read(record);
      if ("row" in result) rows.push(result.row);
      else bad ??= { n: record.n, refusal: result.refusal };
    }
    if (bad === undefined) readable.push({ ...unit, rows });
    else refuseUnit(unit, bad, outcomes);
  }
  return readable;
}

/** One record's refusal is its event's: the other outputs are not written either, and say why. */
export function refuseUnit(unit: Unit, bad: { readonly n: number; readonly refusal: WriteOutcome }, outcomes: WriteOutcomes): void {
  for (const record of unit.records) {
    const { refusal } = bad;
    outcomes.set(
      record.n,
      record.n === bad.n || refusal.kind !== "failed"
        ? refusal
        : { ...refusal, message: `another output of this event was refused: ${refusal.message}` },
    );
  }
}

export function settle(unit: { readonly records: readonly SinkRecord[] }, outcomes: WriteOutcomes, outcome: WriteOutcome): void {
  for (const record of unit.records) outcomes.set(record.n, outcome);
}

/** Ledger entries of a transaction; each key once, whatever groups it is spread over. */
export function toLedgerEntries(parts: readonly Part[]): readonly LedgerEntry[] {
  const entries = new Map<string, LedgerKey & { done: number[] }>();
  for (const part of parts) {
    for (const unit of part.units) {
      const key = ledgerKey(part, unit.source);
      const text = keyText(key);
      const entry = entries.get(text);
      if (entry === undefined) entries.set(text, { ...key, done: [unit.source.n] });
      else entry.done.push(unit.source.n);
    }
  }
  return [...entries.values()];
}

/** Leaves out what the ledger says is done. */
export function withoutDone(parts: readonly Part[], done: ReadonlyMap<string, ReadonlySet<number>>, outcomes: WriteOutcomes): readonly Part[] {
  return parts
    .map((part) => ({
      ...part,
      units: part.units.filter((unit) => {
        const isDone = done.get(keyText(ledgerKey(part, unit.source)))?.has(unit.source.n) === true;
        if (isDone) settle(unit, outcomes, DUPLICATE);
        return !isDone;
      }),
    }))
    .filter((part) => part.units.length > 0);
}

export const rowsOf = (part: Part): readonly Row[] => part.units.flatMap((unit) => unit.rows);

export const refuseGroup = (group: SinkGroup, message: string, outcomes: WriteOutcomes): void => {
  for (const record of group.records) outcomes.set(record.n, refused("config.invalid", message));
};

const sourceText = (source: SourceEvent): string => `${source.batchId}/${source.generation}/${source.n}`;
