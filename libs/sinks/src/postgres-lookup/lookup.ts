/** What is asked of a lookup, and what it answers: the shapes of `enrich.lookup`'s port, and of the check of a spec. */
import type { JsonObject } from "@onedata/core";
import type { ConnectionConfig } from "../sink.ts";

export type LookupTable = {
  /** `undefined` = the connection's schema. */
  readonly schema: string | undefined;
  readonly table: string;
  readonly column: string;
  readonly take: readonly string[];
};

export type LookupQuery = LookupTable & { readonly keys: readonly string[]; readonly maxAgeMs: number };

export type FoundRow =
  | { readonly kind: "row"; readonly row: JsonObject; readonly bytes: number }
  | { readonly kind: "ambiguous" }
  | { readonly kind: "too_large"; readonly bytes: number };

export type LookupCaller = {
  readonly tenant: string;
  readonly connection: ConnectionConfig;
  readonly signal: AbortSignal;
  /** What is left of the caller's own time. */
  readonly budgetMs?: number;
};

export type LookupProblem = {
  readonly member: "connection" | "table" | "column" | "take";
  /** Of `take`: which one. */
  readonly column?: string;
  readonly code: string;
  readonly detail: string;
  readonly isWarning: boolean;
};
