/** What the bench tells its sender process (first argument) and hears from it (a JSON line each). */
import type { Target } from "./request-template.ts";

export type SendOrder = {
  readonly target: Target;
  readonly paths: readonly string[];
  /** First letters of every id, so that runs do not meet. */
  readonly prefix: string;
  readonly connections: number;
  /** Events a second, sent when due whatever the answers do; absent = closed loop: each connection sends when it was answered. */
  readonly ratePerSecond?: number;
  readonly warmUpSeconds: number;
  readonly seconds: number;
};

export type ImportOrder = { readonly target: Target; readonly path: string; readonly prefix: string; readonly records: number };

export type Sent = {
  readonly kind: "done";
  /** Answered with 2xx within the measured time. */
  readonly accepted: number;
  readonly refused: number;
  readonly firstRefusal?: string;
  readonly seconds: number;
  /** Milliseconds from due to answered. */
  readonly acceptMs: Percentiles;
  /** Most events that were due and had no free connection: above 0 the open loop outran the server. */
  readonly mostWaiting: number;
};

export type Imported = { readonly kind: "done"; readonly status: number; readonly answer: string; readonly seconds: number };

export type Percentiles = { readonly p50: number; readonly p99: number; readonly max: number };

export function toPercentiles(values: readonly number[]): Percentiles {
  const sorted = Float64Array.from(values).sort();
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}
