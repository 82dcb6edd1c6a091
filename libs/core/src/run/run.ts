/** A run as the executor sees it: events of many batches, grouped by pipeline version, all of one route. */
import type { loadV1, transformV1 } from "@onedata/contracts";
import type { ErrorCode } from "../errors/catalogue.ts";
import type { Plan } from "../plan/plan.ts";
import type { ServiceFault } from "./call-fault.ts";
import type { SinkWitness } from "./sink-witness.ts";

export type RunEvent = {
  /** Where effects say they come from: for replays the source event, not the copy. `seq` orders source batches; ids carry a clock. */
  readonly source: { readonly batchId: bigint; readonly seq: bigint; readonly n: number; readonly generation: number };
  /** JSON text, UTF-8, as captured. */
  readonly json: Uint8Array;
  readonly timeUnixNanos: bigint;
  /** Where order counts: later events of this key wait while this one does. */
  readonly orderingKey?: string;
  /** Nobody has held it against the input schema of this version: `checkInput` does. */
  readonly unchecked?: true;
  /** What an earlier attempt has done already. */
  readonly progress?: {
    readonly sinksDone: readonly string[];
    readonly tries: number;
    /** By `step a` or `sink b`. */
    readonly places?: Readonly<Record<string, PlaceTries>> | undefined;
    /** The place that asked last. */
    readonly retry?: { readonly at: string } | undefined;
  };
};

/** How often an event has failed for now at one step or sink. */
export type PlaceTries = {
  /** What counts towards its limit. */
  readonly tries: number;
  /** Failures alone in a sink, whether it wrote others afterwards or not. */
  readonly alone?: number;
};

export type RunGroup = {
  readonly pipeline: string;
  readonly version: number;
  readonly tenant: string;
  readonly plan: Plan;
  readonly events: readonly RunEvent[];
};

export type DeadCause = {
  readonly step: string;
  /** Empty unless a sink refused it. */
  readonly sink: string;
  readonly code: string;
  readonly message: string;
  /** The record as it was at that step. */
  readonly json: Uint8Array;
};

/** Why a record is tried again. */
export type RetryCause = Omit<DeadCause, "json"> & {
  /** Tries that it has in all. */
  readonly limit: number;
  /** It failed alone in a sink, with an error that may be the sink's own: `proved` if the sink wrote others after one of the failures. */
  readonly alone?: "proved" | "unproved";
};

export type EventResult =
  | { readonly kind: "delivered" }
  | { readonly kind: "filtered"; readonly step: number }
  | { readonly kind: "dead"; readonly causes: readonly DeadCause[] }
  /** Not final: a record asked for a retry, or a service is down. */
  | {
      readonly kind: "pending";
      readonly sinksDone: readonly string[];
      /** The most of `places`. Counts what records are to blame for, never faults of services. */
      readonly tries: number;
      readonly places: Readonly<Record<string, PlaceTries>>;
      readonly retryAfterMs: number;
      /** Absent unless the record asked for it in this attempt. */
      readonly retry: RetryCause | undefined;
      /** The service that holds it back. Without it and `retry` the event waits behind another one of its key. */
      readonly fault: ServiceFault | undefined;
      /** A write was sent whose outcome nobody knows: the next attempt stays with this version. */
      readonly writeBegun: boolean;
    };

/** A result that the engine stores itself, in its fenced completion. `sink` is the place of the sink in the plan. */
export type EngineOutput = { readonly event: number; readonly sink: number; readonly k: number; readonly json: Uint8Array };

export type GroupResult = { readonly events: readonly EventResult[]; readonly outputs: readonly EngineOutput[] };

export type StageTiming = { readonly step: string; readonly service: string; readonly durationMs: number; readonly calls: number };

export type RunResult = {
  readonly groups: readonly GroupResult[];
  /** The first service that could not do its work, if any; the events it held back are pending and name it. */
  readonly fault: ServiceFault | undefined;
  readonly timings: readonly StageTiming[];
};

export interface RunServices {
  /** Throws what the transport throws; `classifyCallError` judges it. */
  apply(service: string, request: transformV1.ApplyRequest): Promise<transformV1.ApplyResponse>;
  write(service: string, request: loadV1.WriteRequest): Promise<loadV1.WriteResponse>;
  /** Of `apply`: the service answered another call since that one began, or does an example of its own now: then an ambiguous failure is the data's. */
  worksForOthers(service: string): boolean | Promise<boolean>;
}

export type StepObservation = {
  readonly group: number;
  readonly event: number;
  readonly step: string;
  readonly outcome: "outputs" | "filtered" | "failed" | "bypassed";
  readonly outputs: readonly Uint8Array[];
  readonly code: string;
  readonly message: string;
};

export interface RunDeps {
  readonly services: RunServices;
  readonly runId: string;
  readonly installation: string;
  /** Monotonic milliseconds. */
  readonly monotonicMs: () => number;
  /** `when` of a step over one record; throws OneDataError for a record it fails on. */
  readonly evaluateWhen: (expression: string, json: Uint8Array, timeUnixMs: number) => boolean | Promise<boolean>;
  /** Undefined = fine; for events that no gateway has checked. */
  readonly checkInput?: (group: RunGroup, event: RunEvent) => { readonly code: ErrorCode; readonly message: string } | undefined;
  /** Sees every step; previews use it, with a plan that was made without fusion. */
  readonly observe?: (observation: StepObservation) => void;
  /** Outlives runs, so that a record that fails alone is judged by what its sink wrote for others; absent = this run alone. */
  readonly witness?: SinkWitness;
  /** The connection with its secret for steps and sinks that name one. */
  readonly connection?: (tenant: string, name: string) => Promise<transformV1.Connection>;
}

export const MAX_CALL_RECORDS = 500;
export const MAX_CALL_BYTES = 1024 * 1024;
/** Other languages' gRPC accept 4 MiB; what one event makes in one step may not pass this. */
export const MAX_EVENT_BYTES = 3_500_000;
