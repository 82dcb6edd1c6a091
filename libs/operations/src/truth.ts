/** What counts as true: JSONata's `$boolean`, and false for absent. Null, 0, "", empty objects and arrays without a true element are false. */
import { ExactNumber, type Json } from "@onedata/core";

export function isTrue(value: Json | undefined): boolean {
  if (typeof value !== "object" || value === null) return Boolean(value);
  if (value instanceof ExactNumber) return value.toDouble() !== 0;
  return Array.isArray(value) ? value.some(isTrue) : Object.keys(value).length > 0;
}
