/** What a service says of its operations (the answer to `Describe`), as the planner, the catalogue and the docs read it. */
import type { Json, JsonObject } from "./json.ts";

/** `batch` sees several records at once; it is allowed only over a declared unit, because its answer must not depend on where runs were cut. */
export type OperationShape = "map" | "filter" | "flatMap" | "batch";

/** Test, preview and shadow refuse `write`. */
export type OperationEffects = "none" | "read" | "write";

export type OperationExample = {
  readonly name: string;
  readonly config: JsonObject;
  readonly input: Json;
  /** Exactly one of the three: the records it makes, that it is filtered, or the code it fails with. */
  readonly outputs?: readonly Json[];
  readonly filtered?: true;
  readonly fails?: string;
};

export type OperationDescription = {
  /** `<family>.<operation>`, e.g. `record.map`. */
  readonly name: string;
  readonly title: string;
  readonly doc: string;
  readonly shape: OperationShape;
  readonly effects: OperationEffects;
  /** JSON Schema 2020-12. A string with `format: "jsonata"` is checked as an expression, `format: "re2"` as a pattern. */
  readonly configSchema: JsonObject;
  readonly examples: readonly OperationExample[];
  /** A connection's secret goes only to an operation that asks for it. Whether a config must name one, or may, is what `configSchema` says of `connection`. */
  readonly needsConnection?: boolean;
};

/** What became of one record in one step. */
export type Outcome =
  | { readonly kind: "outputs"; readonly records: readonly Json[] }
  | { readonly kind: "filtered" }
  | { readonly kind: "failed"; readonly code: string; readonly message: string; readonly retryable: boolean };

export const FILTERED: Outcome = { kind: "filtered" };
