/** What a case of the bench is given and gives. */
import type { Profile } from "../world/world.ts";
import type { Figures, Settings } from "./figures.ts";
import type { SinkKind } from "./pipelines.ts";

export type BenchOptions = {
  readonly profile: Profile;
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly connections: number;
  readonly records: number;
  readonly sink: SinkKind;
  /** Measure KubeMQ's double too: what the client side costs, nothing about KubeMQ. */
  readonly withDouble: boolean;
};

export type CaseResult = { readonly figures: Figures | readonly Figures[]; readonly settings?: Settings };
export type Case = { readonly doc: string; readonly run: (options: BenchOptions) => Promise<CaseResult> };
