/**
 * What every reader of a format makes: items, in batches.
 * A splitter is pushed bytes and answers with the items that are complete; `readStream` drives it from any byte stream, with no hop per record.
 */
import type { ErrorCode, Json } from "@onedata/core";

/** A record, or a line that is none. Each answers for itself: reading goes on after a reject. */
export type StreamItem = StreamRecord | StreamReject;
export type StreamRecord = {
  readonly kind: "record";
  /** JSON. For NDJSON and JSON arrays the very bytes of the input. */
  readonly text: string;
  /** `text`, parsed once, exact numbers included. */
  readonly value: Json;
  /** Where it begins; lines count from 1. */
  readonly line: number;
  /** Bytes from the start of the stream to just behind this item: reading may go on from here. */
  readonly byteEnd: number;
};
export type StreamReject = {
  readonly kind: "reject";
  readonly line: number;
  readonly byteEnd: number;
  readonly code: ErrorCode;
  /** What is wrong and what to do. */
  readonly message: string;
  /** The beginning of the line, as text that any database stores. */
  readonly excerpt: string;
};

export type StreamOptions = {
  /** Default 256 KiB, at most 1 MiB: of the input's bytes, and of the JSON made of them. */
  readonly maxRecordBytes?: number;
  readonly maxDepth?: number;
  /** For going on with a stream that was cut off: where these bytes begin. The first byte is then the first of an item. */
  readonly startByte?: number;
  readonly startLine?: number;
};

export interface Splitter {
  /** The chunk may be reused by the caller afterwards. May throw when the stream as a whole cannot be read: `import.malformed`. */
  push(chunk: Uint8Array): StreamItem[];
  end(): StreamItem[];
}

/** Memory is bounded by one chunk and one record. Whoever stops early closes the source. */
export async function* readStream(source: AsyncIterable<Uint8Array>, splitter: Splitter): AsyncGenerator<StreamItem[], void, undefined> {
  for await (const chunk of source) {
    const items = splitter.push(chunk);
    if (items.length > 0) yield items;
  }
  const rest = splitter.end();
  if (rest.length > 0) yield rest;
}

export const EXCERPT_BYTES = 200;

/** Invalid bytes and control characters become U+FFFD. */
export function excerptOf(bytes: Uint8Array): string {
  const cut = bytes.byteLength > EXCERPT_BYTES;
  const text = Buffer.from(bytes.subarray(0, EXCERPT_BYTES))
    .toString("utf8")
    // oxlint-disable-next-line no-control-regex -- databases do not store them
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, "\ufffd");
  return cut ? `${text}…` : text;
}
