/** What the engine runs: the spec's DAG as a list of stages, one call to one service each. Stored as JSON with its version. */
import type { Json } from "../json.ts";
import type { OperationDescription } from "../operation.ts";
import type { SelfPause } from "./spec.ts";

/** An operation or a sink, and the service that has it. `engine` as service: the engine itself writes it in the fenced completion. */
export type CatalogueEntry = { readonly service: string; readonly kind: "operation" | "sink"; readonly description: OperationDescription };
export type Catalogue = ReadonlyMap<string, CatalogueEntry>;

export const ENGINE = "engine";

export type PlanStep = {
  readonly id: string;
  /** Place in the spec; verdicts name steps by it. */
  readonly index: number;
  readonly operation: string;
  readonly config: Json;
  readonly configHash: string;
  readonly connection?: string;
  /** Absent = the default. */
  readonly retries?: number;
};

/** Where records come from: the input or an earlier stage. */
export type StageInput = "input" | number;

export type Stage = {
  readonly service: string;
  /** Fused neighbours, run one after another in one `Apply`. */
  readonly steps: readonly PlanStep[];
  /** Their outputs one after another, in this order. */
  readonly inputs: readonly StageInput[];
  /** False lets a record bypass the (single) step unchanged. */
  readonly when?: string;
};

export type PlanSink = {
  readonly id: string;
  readonly kind: string;
  readonly service: string;
  readonly config: Json;
  readonly configHash: string;
  readonly connection?: string;
  /** Absent = the default. */
  readonly retries?: number;
  readonly inputs: readonly StageInput[];
};

export type Plan = {
  /** The sequence of services that a run of this plan calls: `transform,transform>load`. Runs gather lanes of one route. */
  readonly route: string;
  readonly stages: readonly Stage[];
  readonly sinks: readonly PlanSink[];
  /** JSON Schema of the input, for events that no gateway has checked. */
  readonly inputSchema?: Json;
  /** Absent = the default. */
  readonly selfPause?: SelfPause;
};
