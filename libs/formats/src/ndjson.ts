/**
 * NDJSON: one JSON value per line, LF or CRLF. Blank lines are skipped, a byte order mark at the start of the stream too; the last line needs no line end.
 * A record's text is the line as it was sent.
 */
import { ByteWindow } from "./byte-window.ts";
import type { JsonLimits } from "./json-check.ts";
import { resolveLimits, toJsonItem, tooLarge } from "./line-check.ts";
import { readStream, type Splitter, type StreamItem, type StreamOptions } from "./record-stream.ts";

const LF = 0x0a;

export function readNdjson(source: AsyncIterable<Uint8Array>, options: StreamOptions = {}): AsyncGenerator<StreamItem[], void, undefined> {
  return readStream(source, new NdjsonSplitter(options));
}

export class NdjsonSplitter implements Splitter {
  readonly #limits: JsonLimits;
  readonly #window: ByteWindow;
  #line: number;
  #scanned = 0;
  #atStart: boolean;
  /** Set while the rest of an oversized line goes by: its beginning. */
  #oversized: Buffer | undefined;

  constructor(options: StreamOptions = {}) {
    this.#limits = resolveLimits(options);
    this.#window = new ByteWindow(options.startByte ?? 0);
    this.#line = options.startLine ?? 1;
    this.#atStart = (options.startByte ?? 0) === 0;
  }

  push(chunk: Uint8Array): StreamItem[] {
    const window = this.#window;
    this.#scanned -= window.append(chunk);
    const items: StreamItem[] = [];
    for (;;) {
      const found = window.bytes.indexOf(LF, this.#scanned);
      if (found === -1 || found >= window.end) break;
      this.#take(found, found + 1, items);
    }
    this.#scanned = window.end;
    // With room for the byte order mark and the CR of a line that just fits.
    if (window.length > this.#limits.maxBytes + 4) {
      const from = window.start + this.#markLength();
      this.#oversized ??= Buffer.from(window.bytes.subarray(from, from + this.#limits.maxBytes));
      window.start = window.end;
      this.#atStart = false;
    }
    return items;
  }

  end(): StreamItem[] {
    const items: StreamItem[] = [];
    if (this.#window.length > 0 || this.#oversized !== undefined) this.#take(this.#window.end, this.#window.end, items);
    return items;
  }

  #take(lineEnd: number, next: number, items: StreamItem[]): void {
    const window = this.#window;
    const { bytes } = window;
    const from = window.start + this.#markLength();
    this.#atStart = false;
    const to = bytes[lineEnd - 1] === 0x0d && lineEnd > from ? lineEnd - 1 : lineEnd;
    const place = { line: this.#line, byteEnd: window.position(next) };
    if (this.#oversized !== undefined) items.push(tooLarge(this.#oversized, place, this.#limits));
    else if (to - from > this.#limits.maxBytes || !isBlank(bytes, from, to)) items.push(toJsonItem(bytes.subarray(from, to), place, this.#limits));
    this.#oversized = undefined;
    this.#line += 1;
    window.start = next;
    this.#scanned = next;
  }

  #markLength(): number {
    const { bytes, start } = this.#window;
    return this.#atStart && bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf ? 3 : 0;
  }
}

function isBlank(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (bytes[i] !== 0x20 && bytes[i] !== 0x09) return false;
  return true;
}
