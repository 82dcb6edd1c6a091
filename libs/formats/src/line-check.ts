/** Turns the bytes of one line into an item, with the limits of the stream. */
import { DEFAULT_JSON_LIMITS, type Fault, HARD_MAX_RECORD_BYTES, type JsonLimits, tryJsonText, tryUtf8 } from "./json-check.ts";
import { EXCERPT_BYTES, excerptOf, type StreamItem, type StreamOptions, type StreamReject } from "./record-stream.ts";

export function resolveLimits(options: StreamOptions): JsonLimits {
  const { maxRecordBytes = DEFAULT_JSON_LIMITS.maxBytes, maxDepth = DEFAULT_JSON_LIMITS.maxDepth } = options;
  return { maxBytes: Math.min(maxRecordBytes, HARD_MAX_RECORD_BYTES), maxDepth };
}

/** Where an item stands in the stream. */
export type Place = { readonly line: number; readonly byteEnd: number };

/** One JSON value. */
export function toJsonItem(bytes: Uint8Array, place: Place, limits: JsonLimits): StreamItem {
  if (bytes.byteLength > limits.maxBytes) return tooLarge(bytes, place, limits);
  const decoded = tryUtf8(bytes);
  const checked = typeof decoded === "string" ? tryJsonText(decoded, limits) : decoded;
  if ("code" in checked) return toReject(checked, bytes, place);
  return { kind: "record", text: checked.text, value: checked.value, line: place.line, byteEnd: place.byteEnd };
}

export function toReject({ code, message }: Fault, bytes: Uint8Array, place: Place): StreamReject {
  // Messages speak of the payload's own lines; here it is one line of a file.
  const said = message.replace(/^line 1, column/, "column").replace(/^the payload/, "the line");
  return { kind: "reject", line: place.line, byteEnd: place.byteEnd, code, message: said, excerpt: excerptOf(bytes) };
}

export function tooLarge(bytes: Uint8Array, place: Place, limits: JsonLimits): StreamReject {
  const message = `the record is larger than ${limits.maxBytes} bytes: split it, or check that its end is not missing`;
  // No more than every chunking of the stream has seen of it.
  const excerpt = excerptOf(bytes.subarray(0, Math.min(limits.maxBytes, EXCERPT_BYTES)));
  return { kind: "reject", line: place.line, byteEnd: place.byteEnd, code: "request.too_large", message, excerpt: `${excerpt}…` };
}
