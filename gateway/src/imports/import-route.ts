/** `POST /v1/pipelines/{pipeline}/imports`. */
import type { Store } from "@onedata/store";
import { OneDataError } from "@onedata/core";
import type { Authenticator } from "../auth/authenticator.ts";
import type { Pipelines } from "../capture/pipelines.ts";
import type { Quotas } from "../capture/quotas.ts";
import type { HotHandler, Log } from "../http/seam.ts";

export type ImportRouteOptions = {
  readonly authenticator: Authenticator;
  readonly store: Store;
  readonly pipelines: Pipelines;
  readonly quotas: Quotas;
  readonly wake: () => void;
  readonly log: Log;
  readonly maxEventBytes: number;
};

export function createImportHandler(_options: ImportRouteOptions): HotHandler {
  return () => { throw new OneDataError("route.not_found", "imports are not there yet"); };
}
