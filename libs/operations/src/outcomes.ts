/** The few outcomes every operation makes. */
import { type ErrorCode, ExactNumber, isJsonObject, type Json, type JsonObject, OneDataError, type Outcome } from "@onedata/core";

export const one = (record: Json): Outcome => ({ kind: "outputs", records: [record] });
export const many = (records: readonly Json[]): Outcome => ({ kind: "outputs", records });
export const failed = (code: ErrorCode, message: string): Outcome => ({ kind: "failed", code, message, retryable: false });

/** Throws `record.not_an_object`. */
export function requireObject(record: Json): JsonObject {
  if (isJsonObject(record)) return record;
  throw new OneDataError("record.not_an_object", `the record is ${describe(record)}; this operation needs an object`);
}

/** A value in a message: its kind, and a short piece of it. */
export function describe(value: Json | undefined): string {
  if (value === undefined) return "absent";
  if (value === null) return "null";
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 59)}…` : value);
  if (value instanceof ExactNumber) return value.text.length > 60 ? `${value.text.slice(0, 59)}…` : value.text;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  return typeof value === "object" ? "an object" : String(value);
}
