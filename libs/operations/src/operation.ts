/**
 * The port of a transform operation. One folder per operation: `operation.ts` (description and behaviour), `examples.json`; listed in `registry.ts`.
 * Invariants: records are immutable, a step returns new ones and may share their parts; an operation sees no clock but the record's capture time.
 */
import type { Json, JsonObject, OperationDescription, Outcome } from "@onedata/core";

export interface Operation {
  readonly description: OperationDescription;
  /** Throws `config.invalid` with all violations, their pointers relative to the config. */
  compile(config: Json, deps: OperationDeps): Step;
}

/** The only clock an operation sees: when the event was captured, so a retry gives the same answer. */
export type RecordClock = { readonly timeUnixMs: number };

/** One configured operation. Stateless: calls may overlap. */
export interface Step {
  /**
   * Synchronous wherever possible; the chain awaits only real promises, one at a time.
   * A data fault is a `failed` outcome or a thrown `OneDataError` that never succeeds on retry. Any other `OneDataError` is a fault of the service and fails the whole call.
   */
  apply(record: Json, clock: RecordClock): Outcome | Promise<Outcome>;
  /** For operations that fetch: sees all records of the call and returns the step that answers for them. `call` is what the call brings along for this step. */
  prepare?(records: readonly PreparedRecord[], call?: StepCall): Promise<Step>;
}

/** The step with what a call brings along for it. */
export function withCall(step: Step, call: StepCall): Step {
  if (step.prepare === undefined) return step;
  return { apply: (record, clock) => step.apply(record, clock), prepare: async (records) => (await step.prepare?.(records, call)) ?? step };
}

/** Of one call, never kept: the operation sees no connection and no secret, only what it may do with it. */
export type StepCall = {
  /** Absent unless the call brought the connection that the step's config names. */
  readonly tables?: TablePort;
};

export type PreparedRecord = { readonly record: Json; readonly clock: RecordClock };

export interface LookupPort {
  /**
   * Rows of a lookup table by the text of `column` (numbers and booleans as JSON writes them). A key without a row is missing from the map.
   * Keys come without repetition, at most as many as a call has records.
   * Throws `lookup.not_found` for an unknown table or column, `store.unavailable` when it cannot answer.
   */
  get(table: string, column: string, keys: readonly string[]): Promise<ReadonlyMap<string, JsonObject>>;
}

/** Tables of the database that the step's connection leads to. */
export interface TablePort {
  /**
   * What there is for each key; a key without a row, or that is no value of the column's type, is missing from the map. Keys come without repetition.
   * Throws `connection.unavailable` when the database or the table cannot be read now: the records wait.
   */
  find(query: TableQuery): Promise<ReadonlyMap<string, TableRow>>;
}

export type TableQuery = {
  /** `undefined` = the connection's schema. */
  readonly schema: string | undefined;
  readonly table: string;
  readonly column: string;
  readonly take: readonly string[];
  readonly keys: readonly string[];
  /** Rows that were read longer ago are read again; 0 = always. */
  readonly maxAgeMs: number;
};

/** `ambiguous`: several rows have the key. `too_large`: the taken columns of its row are more than a lookup may carry. */
export type TableRow =
  | { readonly kind: "row"; readonly row: JsonObject }
  | { readonly kind: "ambiguous" }
  | { readonly kind: "too_large"; readonly bytes: number };

export interface OperationDeps {
  readonly lookups: LookupPort;
}
