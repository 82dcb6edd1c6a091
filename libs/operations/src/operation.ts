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
  /** For operations that fetch: sees all records of the call and returns the step that answers for them. */
  prepare?(records: readonly PreparedRecord[]): Promise<Step>;
}

export type PreparedRecord = { readonly record: Json; readonly clock: RecordClock };

export interface LookupPort {
  /**
   * Rows of a lookup table by the text of `column` (numbers and booleans as JSON writes them). A key without a row is missing from the map.
   * Keys come without repetition, at most as many as a call has records.
   * Throws `lookup.not_found` for an unknown table or column, `store.unavailable` when it cannot answer.
   */
  get(table: string, column: string, keys: readonly string[]): Promise<ReadonlyMap<string, JsonObject>>;
}

export interface OperationDeps {
  readonly lookups: LookupPort;
}
