/** What a service host reports, as log lines: calls at debug, refusals and faults with their code, internal errors with the id that the caller was told. */
import { catalogue } from "@onedata/core";
import type { ServiceHostOptions } from "../rpc/service-host.ts";
import type { Logger } from "./logger.ts";

export const logCalls = (logger: Logger): Required<Pick<ServiceHostOptions, "onInternalError" | "onCall">> => ({
  onInternalError: (error, at) => logger.error("a call failed unexpectedly", { ...at, error }),
  onCall: ({ path, caller, code, durationMs }) => {
    const fields = { path, caller, code, durationMs: Math.round(durationMs * 10) / 10 };
    if (code !== "ok" && catalogue[code].http >= 500 && code !== "internal") logger.warn("a call failed", fields);
    else logger.debug("call", fields);
  },
});
