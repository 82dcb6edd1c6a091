import { OneDataError } from "@onedata/core";

export const unavailable = (why: string, cause?: unknown): OneDataError => new OneDataError("broker.unavailable", `broker: ${why}`, { cause });

export const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
