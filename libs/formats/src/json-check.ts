/**
 * What a payload must pass before it is captured: size, UTF-8, JSON, depth. The text is kept as it was sent.
 * Valid JSON holds no raw U+0000-U+001F but tab, line feed and carriage return, so the store may separate payloads with other control characters.
 */
import { isUtf8 } from "node:buffer";
import { type ErrorCode, type Json, OneDataError } from "@onedata/core";
import { parseJson } from "./json.ts";
import { locateJsonError } from "./json-error.ts";

export type JsonLimits = { readonly maxBytes: number; readonly maxDepth: number };

export const DEFAULT_JSON_LIMITS: JsonLimits = { maxBytes: 256 * 1024, maxDepth: 64 };
/** No limit may be set higher than this. */
export const HARD_MAX_RECORD_BYTES = 1024 * 1024;

export type CheckedJson = { readonly text: string; readonly value: Json };

/** Throws `request.too_large`, `capture.utf8_invalid` or `capture.json_malformed`. */
export function checkJsonBytes(bytes: Uint8Array, limits: JsonLimits = DEFAULT_JSON_LIMITS): CheckedJson {
  if (bytes.byteLength > limits.maxBytes) {
    throw new OneDataError(
      "request.too_large",
      `the payload has ${bytes.byteLength} bytes; the limit is ${limits.maxBytes}: send less per event, or an import`,
    );
  }
  return checkJsonText(decodeUtf8(bytes), limits);
}

/** Like `checkJsonBytes`, for text that is already decoded and small enough. */
export function checkJsonText(text: string, limits: JsonLimits = DEFAULT_JSON_LIMITS): CheckedJson {
  const checked = tryJsonText(text, limits);
  if ("code" in checked) throw new OneDataError(checked.code, checked.message);
  return checked;
}

/** A fault as a value: a stream of broken lines must not pay for a stack trace each. */
export type Fault = { readonly code: ErrorCode; readonly message: string };

export function tryJsonText(text: string, limits: JsonLimits): CheckedJson | Fault {
  if (depthExceeds(text, limits.maxDepth)) {
    return { code: "capture.json_malformed", message: `the payload is nested deeper than ${limits.maxDepth} levels: flatten it` };
  }
  try {
    return { text, value: parseJson(text) };
  } catch {
    const error = text.trim() === "" ? undefined : locateJsonError(text);
    const message =
      error === undefined ? "the payload is empty: send one JSON value" : `line ${error.line}, column ${error.column}: ${error.message}`;
    return { code: "capture.json_malformed", message };
  }
}

/** Throws `capture.utf8_invalid` with the offset of the first bad byte. A byte order mark is kept as a character. */
export function decodeUtf8(bytes: Uint8Array): string {
  const decoded = tryUtf8(bytes);
  if (typeof decoded !== "string") throw new OneDataError(decoded.code, decoded.message);
  return decoded;
}

export function tryUtf8(bytes: Uint8Array): string | Fault {
  if (isUtf8(bytes)) return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
  const offset = firstInvalidByte(bytes);
  const byte = (bytes[offset] ?? 0).toString(16).padStart(2, "0");
  return { code: "capture.utf8_invalid", message: `byte 0x${byte} at offset ${offset} is not UTF-8: convert the text to UTF-8` };
}

/** Bisects: a prefix that is valid up to an unfinished character counts as valid. */
function firstInvalidByte(bytes: Uint8Array): number {
  let low = 0;
  let high = bytes.byteLength;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    const decoder = new TextDecoder("utf-8", { fatal: true });
    try {
      decoder.decode(bytes.subarray(0, middle), { stream: true });
      low = middle;
    } catch {
      high = middle;
    }
  }
  return low;
}

function depthExceeds(text: string, maxDepth: number): boolean {
  let openers = 0;
  for (let i = 0; i < text.length; i++) {
    // `[` and `{` differ in bit 0x20 only. Counting them, in strings too, clears almost every text without a look at its structure.
    if ((text.charCodeAt(i) | 0x20) === 0x7b) openers += 1;
  }
  return openers > maxDepth && structuralDepth(text) > maxDepth;
}

function structuralDepth(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (inString) {
      if (c === 0x5c) i += 1;
      else if (c === 0x22) inString = false;
    } else if (c === 0x22) inString = true;
    else if ((c | 0x20) === 0x7b) deepest = Math.max(deepest, ++depth);
    else if ((c | 0x20) === 0x7d) depth -= 1;
  }
  return deepest;
}
