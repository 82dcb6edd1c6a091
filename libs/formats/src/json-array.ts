/**
 * A JSON array, split into its elements while it arrives: memory is bounded by one element, not by the array.
 * The scan follows strings and brackets only; whether an element is JSON is asked when it is complete. A record's text is the element as it was sent.
 * A broken element is rejected and reading goes on behind its comma. To go on with a cut-off array, start behind an element's `byteEnd`.
 */
import { OneDataError } from "@onedata/core";
import { ByteWindow } from "./byte-window.ts";
import type { JsonLimits } from "./json-check.ts";
import { resolveLimits, toJsonItem, tooLarge } from "./line-check.ts";
import { excerptOf, readStream, type Splitter, type StreamItem, type StreamOptions } from "./record-stream.ts";

export function readJsonArray(source: AsyncIterable<Uint8Array>, options: StreamOptions = {}): AsyncGenerator<StreamItem[], void, undefined> {
  return readStream(source, new JsonArraySplitter(options));
}

type Where = "before" | "inside" | "after" | "ignored";

export class JsonArraySplitter implements Splitter {
  readonly #limits: JsonLimits;
  readonly #window: ByteWindow;
  #where: Where;
  #line: number;
  /** Next byte to look at. */
  #at = 0;
  #elementLine = 0;
  /** Offset of the element's first and behind its last byte that is no whitespace; -1 before the first. */
  #from = -1;
  #to = -1;
  #ignoredFrom = 0;
  #depth = 0;
  #inString = false;
  #escaped = false;
  #afterComma = false;
  /** Whitespace has followed the element; then something that is neither a comma nor the end. */
  #ended = false;
  #broken = false;
  #oversized: Buffer | undefined;

  constructor(options: StreamOptions = {}) {
    this.#limits = resolveLimits(options);
    this.#window = new ByteWindow(options.startByte ?? 0);
    this.#line = options.startLine ?? 1;
    const resumed = (options.startByte ?? 0) > 0;
    this.#where = resumed ? "inside" : "before";
    this.#afterComma = resumed;
  }

  push(chunk: Uint8Array): StreamItem[] {
    const window = this.#window;
    const shift = window.append(chunk);
    this.#at -= shift;
    if (this.#from >= 0) {
      this.#from -= shift;
      this.#to -= shift;
    }
    const items: StreamItem[] = [];
    this.#scan(items);
    this.#forget();
    return items;
  }

  end(): StreamItem[] {
    const { bytes, end } = this.#window;
    if (this.#where === "before") throw new OneDataError("import.malformed", "the body is empty: send a JSON array");
    if (this.#where === "after") return [];
    const rest = bytes.subarray(this.#from === -1 ? end : this.#from, end);
    if (this.#where === "ignored") {
      const place = { line: this.#elementLine, byteEnd: this.#ignoredFrom };
      return [
        {
          kind: "reject",
          ...place,
          code: "import.malformed",
          message: 'text after the closing "]" of the array is not read: send one array per import',
          excerpt: excerptOf(rest),
        },
      ];
    }
    const place = { line: this.#from === -1 ? this.#line : this.#elementLine, byteEnd: this.#window.position(end) };
    return [
      {
        kind: "reject",
        ...place,
        code: "import.malformed",
        message: 'the array is not closed: the body ends before its "]"; send the rest from the last record on',
        excerpt: excerptOf(this.#oversized ?? rest),
      },
    ];
  }

  /** Keeps no more than one element, or the beginning of what is ignored. */
  #forget(): void {
    const window = this.#window;
    if (this.#from === -1) window.start = this.#at;
    else if (this.#where === "ignored") window.dropTail(Math.min(window.end, this.#from + 1024));
    else if (this.#to - this.#from > this.#limits.maxBytes) {
      this.#oversized ??= Buffer.from(window.bytes.subarray(this.#from, this.#from + this.#limits.maxBytes));
      window.start = this.#at;
      this.#from = this.#at;
      this.#to = this.#at;
    } else window.dropTail(this.#to); // whitespace behind the element, however much of it, or what makes it broken
    this.#at = window.end;
  }

  #scan(items: StreamItem[]): void {
    const { bytes, end } = this.#window;
    for (; this.#at < end; this.#at++) {
      const c = bytes[this.#at] ?? 0;
      if (c === 0x0a) this.#line += 1;
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (c === 0x5c) this.#escaped = true;
        else if (c === 0x22) this.#inString = false;
        if (!this.#broken) this.#to = this.#at + 1;
        continue;
      }
      if (c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09) {
        if (this.#depth > 0 && !this.#broken) this.#to = this.#at + 1;
        else if (this.#from !== -1 && this.#depth === 0) this.#ended = true;
        continue;
      }
      if (this.#where === "inside") this.#step(c, items);
      else if (this.#where === "before") this.#begin(c);
      else if (this.#where === "after") {
        this.#open();
        this.#where = "ignored";
        this.#ignoredFrom = this.#window.position(this.#at);
      }
    }
  }

  #step(c: number, items: StreamItem[]): void {
    if (this.#depth === 0 && (c === 0x2c || c === 0x5d)) return this.#close(c === 0x5d, items);
    if (this.#from === -1) this.#open();
    if (this.#ended) this.#broken = true;
    if (!this.#broken) this.#to = this.#at + 1;
    if (c === 0x22) this.#inString = true;
    else if ((c | 0x20) === 0x7b) this.#depth += 1;
    else if ((c | 0x20) === 0x7d && this.#depth > 0) this.#depth -= 1;
  }

  #begin(c: number): void {
    // A byte order mark before the array is skipped.
    if (c === 0xef || c === 0xbb || c === 0xbf) return;
    if (c !== 0x5b) {
      throw new OneDataError(
        "import.malformed",
        `the body is not a JSON array: it begins with ${JSON.stringify(String.fromCharCode(c))}; send [ … ], or one value per line as application/x-ndjson`,
      );
    }
    this.#where = "inside";
  }

  #open(): void {
    this.#from = this.#at;
    this.#elementLine = this.#line;
  }

  #close(isLast: boolean, items: StreamItem[]): void {
    const window = this.#window;
    const place = { line: this.#from === -1 ? this.#line : this.#elementLine, byteEnd: window.position(this.#at + 1) };
    const isEmptyArray = isLast && !this.#afterComma;
    const element = this.#oversized ?? window.bytes.subarray(Math.max(this.#from, 0), Math.max(this.#to, 0));
    if (this.#oversized !== undefined || this.#to - this.#from > this.#limits.maxBytes) items.push(tooLarge(element, place, this.#limits));
    else if (this.#broken)
      items.push({
        kind: "reject",
        ...place,
        code: "capture.json_malformed",
        message: 'a "," is missing behind this element',
        excerpt: excerptOf(element),
      });
    else if (this.#from !== -1) items.push(toJsonItem(element, place, this.#limits));
    else if (!isEmptyArray)
      items.push({
        kind: "reject",
        ...place,
        code: "capture.json_malformed",
        message: `an element is missing before this "${isLast ? "]" : ","}": remove a comma`,
        excerpt: "",
      });
    this.#afterComma = !isLast;
    if (isLast) this.#where = "after";
    this.#oversized = undefined;
    this.#from = -1;
    this.#to = -1;
    this.#depth = 0;
    this.#ended = false;
    this.#broken = false;
  }
}
