/** Which format a body has, from its `Content-Type`. */
import type { CsvDelimiter } from "./csv.ts";

export type ImportFormat = { readonly format: "ndjson" | "json-array" } | { readonly format: "csv"; readonly delimiter?: CsvDelimiter };

export const IMPORT_MEDIA_TYPES = ["application/x-ndjson", "application/json", "text/csv", "text/tab-separated-values"] as const;

/** `undefined` for other media types and for charsets other than UTF-8 (and US-ASCII, a part of it). */
export function detectFormat(contentType: string): ImportFormat | undefined {
  const [mediaType = "", ...parameters] = contentType.toLowerCase().split(";");
  for (const parameter of parameters) {
    const [name = "", value = ""] = parameter.split("=");
    if (name.trim() === "charset" && !["utf-8", "utf8", "us-ascii"].includes(value.trim().replaceAll('"', ""))) return undefined;
  }
  switch (mediaType.trim()) {
    case "application/x-ndjson":
    case "application/ndjson":
    case "application/jsonl":
    case "application/x-jsonlines":
    case "application/jsonlines":
    case "application/json-lines":
      return { format: "ndjson" };
    case "application/json":
      return { format: "json-array" };
    case "text/csv":
    case "application/csv":
      return { format: "csv" };
    case "text/tab-separated-values":
      return { format: "csv", delimiter: "\t" };
    default:
      return undefined;
  }
}
