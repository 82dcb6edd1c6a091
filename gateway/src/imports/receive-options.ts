import type { Splitter } from "@onedata/formats";
import type { Store } from "@onedata/store";
import type { DiskGuard } from "../capture/disk-guard.ts";
import type { CapturePipeline, Pipelines } from "../capture/pipelines.ts";
import type { Quotas } from "../capture/quotas.ts";
import type { SourcePrefix } from "./source-prefix.ts";

/** What receiving one import needs. */
export type ReceiveOptions = {
  readonly store: Store;
  readonly pipelines: Pipelines;
  readonly quotas: Quotas;
  readonly disk: DiskGuard;
  readonly committed: () => void;
  readonly importId: bigint;
  readonly pipeline: CapturePipeline;
  readonly splitter: Splitter;
  readonly prefix: SourcePrefix;
  /** Lines accepted and rejected by earlier requests of this import. */
  readonly acceptedBefore: number;
  readonly rejectedBefore: number;
  /** Of the upload, 25 bytes, when it is kept: the first event of each chunk carries on from it, which tells the way without a trace per line. */
  readonly trace?: Uint8Array | undefined;
  /** Runs before the first chunk is committed. */
  readonly beforeFirstCommit: () => Promise<void>;
  /** Aborts when the sender has gone or the gateway stops. */
  readonly signal: AbortSignal;
};
