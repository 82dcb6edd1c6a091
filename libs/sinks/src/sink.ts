/**
 * The port of everything results are written to.
 *
 * Invariants every sink keeps (the conformance suite holds them to it):
 * 1. A write answers exactly one outcome for every record number it was given.
 * 2. A record that cannot be stored fails alone: its neighbours are written.
 * 3. A fault of the sink itself is never a data fault: those records fail with `sink.unavailable`, retryable.
 */
import type { JsonObject, OperationDescription, Violation } from "@onedata/core";

/** An event as ledgers and keys name it: by its SOURCE batch and ordinal, so a replay meets its own ledger row. */
export type SourceEvent = {
  readonly batchId: bigint;
  /** Place of the source batch in the order of capture; 0 from an engine that does not say it yet. */
  readonly seq: bigint;
  readonly n: number;
  readonly generation: number;
};

export type SinkRecord = {
  /** Unique in the call. */
  readonly n: number;
  /** Stable key of this effect: hash(source event, generation, sink, record, output). */
  readonly key: string;
  /** The value as JSON text. */
  readonly json: string;
  readonly timeUnixMs: number;
  readonly source: SourceEvent;
};

/** A named address and its secrets, as the tenant stored it. */
export type ConnectionConfig = { readonly name: string; readonly kind: string; readonly config: JsonObject };

/** Records of one sink of one pipeline version. */
export type SinkGroup = {
  /** `postgres.upsert` */
  readonly kind: string;
  /** Name of the sink in the spec; part of ledger rows. */
  readonly sinkId: string;
  readonly pipeline: string;
  readonly version: number;
  readonly tenant: string;
  readonly config: JsonObject;
  readonly configHash: string;
  readonly connection?: ConnectionConfig;
  /** All outputs of a source event together. */
  readonly records: readonly SinkRecord[];
  /** Source events that end here with no output: they count as done. */
  readonly empty: readonly SourceEvent[];
};

export type WriteContext = {
  /** Names this installation in ledgers. */
  readonly installation: string;
  readonly runId: string;
  readonly signal: AbortSignal;
};

export type WriteOutcome =
  | { readonly kind: "written" }
  | { readonly kind: "duplicate" }
  | {
      readonly kind: "failed";
      readonly code: string;
      readonly message: string;
      readonly retryable: boolean;
      /** Of `sink.unavailable`: absent = the sink's fault. */
      readonly blame?: Blame;
    };

/**
 * `unclear`: the sink answered an error of its own to a request that carried this record, perhaps among others; the engine parts the request, and judges by what
 * the sink writes for others. `none`: not sent, for a record before it failed that way.
 */
export type Blame = "unclear" | "none";

export type WriteOutcomes = Map<number, WriteOutcome>;

export const WRITTEN: WriteOutcome = { kind: "written" };
export const DUPLICATE: WriteOutcome = { kind: "duplicate" };

/**
 * How long one connection, or one HTTP group, may take in a call. Less than the call's own deadline: a receiver that hangs costs its own records a later try,
 * and its neighbours in the call get their answer.
 */
export const WRITE_BUDGET_MS = 20_000;

/** Several kinds may share a writer (both Postgres sinks do), so that their groups share a commit. */
export interface SinkWriter {
  /** Never throws for what concerns records or single connections: that is an outcome. */
  write(groups: readonly SinkGroup[], context: WriteContext): Promise<WriteOutcomes>;
}

export type CheckInput = {
  readonly config: JsonObject;
  readonly connection?: ConnectionConfig;
  readonly tenant: string;
  readonly signal: AbortSignal;
};

export type Sink = {
  readonly description: OperationDescription;
  /** Kind of connection it takes; absent = none. */
  readonly connectionKind?: string;
} & (
  | {
      readonly handledBy: "load";
      readonly writer: SinkWriter;
      /** What is wrong with the config, against the real thing where there is one. */
      check(input: CheckInput): Promise<readonly Violation[]>;
    }
  /** Its records are outputs of the engine's own completion; nothing here writes them. */
  | { readonly handledBy: "engine"; check(input: CheckInput): Promise<readonly Violation[]> }
);

/** What can be connected to: the schema of its config (secrets are `writeOnly`) and how to try one. */
export type ConnectionKind = {
  readonly kind: string;
  readonly title: string;
  readonly configSchema: JsonObject;
  /** Empty text if it works. */
  check(connection: ConnectionConfig, tenant: string, signal: AbortSignal): Promise<string>;
};

/** A fault of the sink, not of the record: the engine blocks and retries, and no dead letter is made. */
export const unavailable = (message: string, blame?: Blame): WriteOutcome => ({
  kind: "failed",
  code: "sink.unavailable",
  message,
  retryable: true,
  ...(blame === undefined ? {} : { blame }),
});

export const refused = (code: "sink.unstorable" | "sink.rejected" | "record.not_an_object" | "config.invalid", message: string): WriteOutcome => ({
  kind: "failed",
  code,
  message,
  retryable: false,
});
