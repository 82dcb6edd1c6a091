/**
 * CSV (RFC 4180): quotes, line ends inside quotes, a byte order mark, any of `,` `;` tab `|` as delimiter. Lines end with LF, CRLF or a CR alone, as old Macs and some exports
 * write them, also mixed. Every value is a string.
 *
 * Why not `csv-parse` (it is the reference in the tests): its records have no byte positions to go on from, one bad row or byte costs an exception path over
 * the whole stream, and an unclosed quote swallows the file to its end. Here a bad row is a reject and reading goes on at the next line.
 *
 * Invariants:
 *  1. The items depend on the bytes alone, never on how they were cut into chunks.
 *  2. A quote opens only at the start of a field; elsewhere in an unquoted field it is a character (`5" pipe`). Behind a closing quote stands a delimiter or a line end.
 *  3. After an unclosed or misplaced quote, reading goes on behind the line where the record began, as long as this re-reading stays within a few times the size
 *     of the stream (`MAX_REREAD`); beyond, what the record had swallowed goes with it.
 *  4. Lines without any character are skipped. In a file of one column an empty value is written `""`.
 *  5. A CR at the end of a chunk waits for the next byte: CR and LF are one line end, wherever they are parted.
 */
import { OneDataError } from "@onedata/core";
import { ByteWindow } from "./byte-window.ts";
import { createRowReader, type EmptyAs, type Row, splitFields, toColumns } from "./csv-row.ts";
import { decodeUtf8, type Fault, type JsonLimits, tryUtf8 } from "./json-check.ts";
import { type Place, resolveLimits, tooLarge, toReject } from "./line-check.ts";
import { excerptOf, readStream, type Splitter, type StreamItem, type StreamOptions, type StreamReject } from "./record-stream.ts";

export type CsvDelimiter = "," | ";" | "\t" | "|";

export type CsvOptions = StreamOptions & {
  /** Left out: the one of the four that the header line has most of. */
  readonly delimiter?: CsvDelimiter;
  /** Names for the columns, in order. Needed where there is no header row, and to go on with a stream that was cut off. */
  readonly columns?: readonly string[];
  /** Whether the first row names the columns. Default: true unless `columns` are given. With both, the row is skipped. */
  readonly headerRow?: boolean;
  /** New names for columns of the header row. */
  readonly rename?: Readonly<Record<string, string>>;
  readonly emptyAs?: EmptyAs;
  /** Rejects a header row that nothing follows: it may be data that was sent without a header, or lines that end in a way unknown here. Default: it is an empty table. */
  readonly rejectHeaderAlone?: boolean;
  /** Told once, before the first row: what a later request needs to go on. */
  readonly onHeader?: (header: CsvHeader) => void;
};
export type CsvHeader = { readonly columns: readonly string[]; readonly delimiter: CsvDelimiter };

export function readCsv(source: AsyncIterable<Uint8Array>, options: CsvOptions = {}): AsyncGenerator<StreamItem[], void, undefined> {
  return readStream(source, new CsvSplitter(options));
}

const LF = 0x0a;
const CR = 0x0d;
const QUOTE = 0x22;
const DELIMITERS: readonly CsvDelimiter[] = [",", ";", "\t", "|"];
const TEXT_BEHIND_QUOTE: Fault = {
  code: "import.row_malformed",
  message: "text stands behind a closing quote: quote the whole field, and double a quote that belongs to the text",
};
const HEADER_ALONE: Fault = {
  code: "import.row_malformed",
  message: "nothing follows the header row: if this line is data, put one with the names of the columns before it, or give them with the request",
};
const MAX_REREAD = { factor: 4, bytes: 4 * 1024 * 1024 } as const;

const states = { fieldStart: 0, unquoted: 1, quoted: 2, closed: 3, bad: 4 } as const;
type State = (typeof states)[keyof typeof states];

export class CsvSplitter implements Splitter {
  readonly #options: CsvOptions;
  readonly #limits: JsonLimits;
  readonly #window: ByteWindow;
  #delimiter: CsvDelimiter | undefined;
  #headerPending: boolean;
  #readRow: ((fields: readonly string[]) => Row | Fault) | undefined;
  /** The line where the record at `window.start` begins. */
  #line: number;
  #atStart: boolean;
  // The record that is being scanned: next byte, state, lines in it, and where its first line ends.
  #at = 0;
  #state: State = states.fieldStart;
  #lineEnds = 0;
  #firstLineEnd = -1;
  /** Set while the rest of an oversized line goes by: its beginning. */
  #oversized: Buffer | undefined;
  #reread = 0;
  /** Set while nothing has followed the header row. */
  #headerAlone: StreamReject | undefined;

  constructor(options: CsvOptions = {}) {
    this.#options = options;
    this.#limits = resolveLimits(options);
    this.#window = new ByteWindow(options.startByte ?? 0);
    this.#line = options.startLine ?? 1;
    this.#atStart = (options.startByte ?? 0) === 0;
    this.#headerPending = options.headerRow ?? options.columns === undefined;
    this.#delimiter = options.delimiter;
    if (this.#headerPending === false) {
      this.#delimiter ??= ",";
      this.#setColumns(toColumns(options.columns ?? [], {}));
    }
  }

  push(chunk: Uint8Array): StreamItem[] {
    const shift = this.#window.append(chunk);
    this.#at -= shift;
    if (this.#firstLineEnd >= 0) this.#firstLineEnd -= shift;
    const items: StreamItem[] = [];
    this.#scan(items, false);
    return items;
  }

  end(): StreamItem[] {
    const items: StreamItem[] = [];
    this.#scan(items, true);
    if (this.#headerPending)
      throw new OneDataError("import.malformed", "the body has no header row: name the columns in its first line, or give them with the request");
    if (this.#headerAlone !== undefined && this.#options.rejectHeaderAlone === true) items.push(this.#headerAlone);
    return items;
  }

  #scan(items: StreamItem[], isLast: boolean): void {
    const window = this.#window;
    if (this.#atStart && !this.#skipMark(isLast)) return;
    if (this.#delimiter === undefined && !this.#detectDelimiter(isLast)) return;
    const delimiter = (this.#delimiter ?? ",").charCodeAt(0);
    const searches = { quote: searchFor(window, QUOTE), lineEnd: searchForLineEnd(window) };
    while (window.start < window.end) {
      if (this.#oversized !== undefined) {
        const lineEnd = searches.lineEnd(this.#at);
        const next = this.#behindLineEnd(lineEnd, isLast);
        if (next !== undefined) {
          this.#finishOversized(next, items);
          continue;
        }
        window.start = Math.min(lineEnd, window.end);
        this.#at = window.start;
        if (!isLast) return;
        return this.#finishOversized(window.end, items);
      }
      if (this.#state === states.fieldStart && this.#lineEnds === 0) {
        // Most lines have no quote: then the line end decides, and both searches are native.
        const lineEnd = searches.lineEnd(this.#at);
        if (lineEnd < searches.quote(this.#at)) {
          if (lineEnd - window.start > this.#limits.maxBytes) {
            this.#startOversized();
            continue;
          }
          const next = this.#behindLineEnd(lineEnd, isLast);
          if (next === undefined) return;
          this.#finish(lineEnd, next, items);
          continue;
        }
      }
      if (this.#scanRecord(delimiter, isLast, items)) continue;
      if (!isLast) return;
      this.#finishLast(items);
    }
    if (isLast && this.#oversized !== undefined) this.#finishOversized(window.end, items);
  }

  /** Byte by byte from where the last scan stopped. False when the window ends before the record does. */
  #scanRecord(delimiter: number, isLast: boolean, items: StreamItem[]): boolean {
    const { bytes, start, end } = this.#window;
    const limit = start + this.#limits.maxBytes;
    let state = this.#state;
    for (let at = this.#at; at < end; at++) {
      const c = bytes[at] ?? 0;
      const isLineEnd = c === LF || c === CR;
      if (at > limit || (at === limit && !isLineEnd)) {
        this.#at = at;
        if (this.#firstLineEnd === -1) this.#startOversized();
        else
          this.#giveUp(
            `the quote that opens here is not closed within ${this.#limits.maxBytes} bytes: close it, and double a quote that belongs to the text`,
            at,
            items,
          );
        return true;
      }
      if (isLineEnd) {
        const next = this.#behindLineEnd(at, isLast);
        if (next === undefined) {
          this.#at = at;
          this.#state = state;
          return false;
        }
        if (state !== states.quoted) {
          this.#state = state;
          this.#finish(at, next, items);
          return true;
        }
        // Of CR and LF, the LF counts.
        if (next > at + 1) continue;
        this.#lineEnds += 1;
        if (this.#firstLineEnd === -1) this.#firstLineEnd = at;
      } else if (state === states.quoted) {
        if (c === QUOTE) state = states.closed;
      } else if (state === states.bad) {
        // until the line ends
      } else if (c === delimiter) state = states.fieldStart;
      else if (state === states.fieldStart) state = c === QUOTE ? states.quoted : states.unquoted;
      else if (state === states.closed && c === QUOTE) state = states.quoted;
      else if (state !== states.unquoted) {
        state = states.bad;
        if (this.#firstLineEnd !== -1) {
          this.#giveUp("the quote that opens on this line is closed in a wrong place: double a quote that belongs to the text", at, items);
          return true;
        }
      }
    }
    this.#at = end;
    this.#state = state;
    return false;
  }

  /** Undefined while the byte behind a CR has not arrived, or where there is no line end. */
  #behindLineEnd(lineEnd: number, isLast: boolean): number | undefined {
    const { bytes, end } = this.#window;
    if (lineEnd >= end) return undefined;
    if (bytes[lineEnd] === LF) return lineEnd + 1;
    if (lineEnd + 1 === end) return isLast ? end : undefined;
    return bytes[lineEnd + 1] === LF ? lineEnd + 2 : lineEnd + 1;
  }

  /** The stream ends inside a record. */
  #finishLast(items: StreamItem[]): void {
    const { end } = this.#window;
    if (this.#state === states.quoted)
      this.#giveUp("the quote that opens here is never closed: close it, and double a quote that belongs to the text", end, items);
    else this.#finish(end, end, items);
  }

  #finish(lineEnd: number, next: number, items: StreamItem[]): void {
    const window = this.#window;
    const { bytes, start } = window;
    const state = this.#state;
    const place = { line: this.#line, byteEnd: window.position(next) };
    const record = bytes.subarray(start, lineEnd);
    this.#begin(next, this.#line + this.#lineEnds + 1);
    if (record.byteLength === 0) return;
    if (this.#headerPending) return this.#readHeader(record, state, place);
    this.#headerAlone = undefined;
    const row = state === states.bad ? TEXT_BEHIND_QUOTE : this.#toRow(record);
    if ("code" in row) items.push(toReject(row, record, place));
    else if (row.text.length * 3 > this.#limits.maxBytes && Buffer.byteLength(row.text) > this.#limits.maxBytes) {
      items.push(tooLarge(record, place, this.#limits));
    } else items.push({ kind: "record", text: row.text, value: row.value, line: place.line, byteEnd: place.byteEnd });
  }

  #toRow(record: Uint8Array): Row | Fault {
    const decoded = tryUtf8(record);
    if (typeof decoded !== "string") return decoded;
    // Without a header and without columns the first row cannot be named; the constructor has excluded that.
    if (this.#readRow === undefined) throw new OneDataError("internal", "csv: a row before its columns");
    return this.#readRow(splitFields(decoded, this.#delimiter ?? ","));
  }

  /** Rejects the line where the record began, and goes on behind it: or behind all of the record, when re-reading has become too much. */
  #giveUp(message: string, upTo: number, items: StreamItem[]): void {
    const window = this.#window;
    const { bytes, start } = window;
    if (this.#headerPending) throw new OneDataError("import.malformed", `the header row cannot be read: ${message}`);
    this.#headerAlone = undefined;
    const firstEnd = this.#firstLineEnd === -1 ? upTo : this.#firstLineEnd;
    const swallowed = upTo - firstEnd;
    const affordable = this.#reread + swallowed <= MAX_REREAD.bytes + MAX_REREAD.factor * (window.position(start) - (this.#options.startByte ?? 0));
    const next = Math.min(window.end, (affordable ? firstEnd : upTo - 1) + 1);
    const line = this.#line;
    const lines = affordable ? (this.#firstLineEnd === -1 ? 0 : 1) : this.#lineEnds;
    items.push({
      kind: "reject",
      line,
      byteEnd: window.position(next),
      code: "import.row_malformed",
      message,
      excerpt: excerptOf(bytes.subarray(start, firstEnd)),
    });
    if (affordable) this.#reread += swallowed;
    this.#begin(next, line + lines);
  }

  #startOversized(): void {
    const { bytes, start } = this.#window;
    if (this.#headerPending) throw new OneDataError("import.malformed", `the header row is longer than ${this.#limits.maxBytes} bytes: is this CSV?`);
    this.#headerAlone = undefined;
    this.#oversized = Buffer.from(bytes.subarray(start, start + this.#limits.maxBytes));
  }

  #finishOversized(next: number, items: StreamItem[]): void {
    const place = { line: this.#line, byteEnd: this.#window.position(next) };
    items.push(tooLarge(this.#oversized ?? new Uint8Array(), place, this.#limits));
    this.#oversized = undefined;
    this.#begin(next, this.#line + 1);
  }

  #begin(next: number, line: number): void {
    this.#window.start = next;
    this.#at = next;
    this.#line = line;
    this.#state = states.fieldStart;
    this.#lineEnds = 0;
    this.#firstLineEnd = -1;
  }

  #readHeader(record: Uint8Array, state: State, place: Place): void {
    this.#headerPending = false;
    if (state === states.bad) throw new OneDataError("import.malformed", "the header row has text behind a closing quote");
    let names: string[];
    try {
      names = splitFields(decodeUtf8(record), this.#delimiter ?? ",");
    } catch (cause) {
      throw new OneDataError("import.malformed", `the header row cannot be read: ${OneDataError.from(cause).message}`, { cause });
    }
    this.#setColumns(this.#options.columns ?? toColumns(names, this.#options.rename ?? {}));
    this.#headerAlone = toReject(HEADER_ALONE, record, place);
  }

  #setColumns(columns: readonly string[]): void {
    if (columns.length === 0) throw new OneDataError("import.malformed", "no columns: give their names, or send a header row");
    const delimiter = this.#delimiter ?? ",";
    this.#readRow = createRowReader(columns, delimiter, this.#options.emptyAs ?? "string");
    this.#options.onHeader?.({ columns, delimiter });
  }

  /** False while more bytes are needed to decide. */
  #skipMark(isLast: boolean): boolean {
    const { bytes, start, length } = this.#window;
    if (length < 3 && !isLast) return false;
    if (length >= 3 && bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf) this.#begin(start + 3, this.#line);
    this.#atStart = false;
    return true;
  }

  #detectDelimiter(isLast: boolean): boolean {
    const window = this.#window;
    // Blank lines before the header name nothing.
    while (window.length > 0 && (window.bytes[window.start] === LF || window.bytes[window.start] === CR)) {
      const next = this.#behindLineEnd(window.start, isLast);
      if (next === undefined) return false;
      this.#begin(next, this.#line + 1);
    }
    const lineEnd = searchForLineEnd(window)(window.start);
    if (lineEnd === Infinity && !isLast && window.length <= this.#limits.maxBytes) return false;
    const line = window.bytes
      .subarray(window.start, Math.min(lineEnd, window.end))
      .toString("latin1")
      .replace(/"[^"]*"/g, "");
    const counts = DELIMITERS.map((delimiter) => line.split(delimiter).length);
    this.#delimiter = DELIMITERS[counts.indexOf(Math.max(...counts))] ?? ",";
    return true;
  }
}

/** The first `byte` at or behind an offset, Infinity where there is none: searched again only when the last one found lies before it. */
function searchFor(window: ByteWindow, byte: number): (from: number) => number {
  let found = -1;
  return (from) => {
    if (found >= from) return found;
    found = window.bytes.indexOf(byte, from);
    if (found === -1 || found >= window.end) found = Infinity;
    return found;
  };
}

function searchForLineEnd(window: ByteWindow): (from: number) => number {
  const [feed, carriageReturn] = [searchFor(window, LF), searchFor(window, CR)];
  return (from) => Math.min(feed(from), carriageReturn(from));
}
