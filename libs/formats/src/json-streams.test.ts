import { describe, expect, it } from "vitest";
import { detectFormat } from "./detect-format.ts";
import { JsonArraySplitter } from "./json-array.ts";
import { NdjsonSplitter } from "./ndjson.ts";
import type { Splitter, StreamItem } from "./record-stream.ts";

const read = (splitter: Splitter, text: string): StreamItem[] => [...splitter.push(Buffer.from(text)), ...splitter.end()];
const texts = (items: readonly StreamItem[]): string[] =>
  items.map((item) => (item.kind === "record" ? item.text : `line ${item.line}: ${item.code}: ${item.message}`));

describe("NDJSON", () => {
  it("keeps each line as it was sent, and counts lines and bytes", () => {
    const items = read(new NdjsonSplitter(), '\ufeff{"a": 1.10}\r\n\n  {"b":12345678901234567890}\n"å"');
    expect(texts(items)).toEqual(['{"a": 1.10}', '  {"b":12345678901234567890}', '"å"']);
    expect(items.map((item) => [item.line, item.byteEnd])).toEqual([
      [1, 16],
      [3, 46],
      [4, 50],
    ]);
  });

  it("rejects broken lines and reads on", () => {
    expect(texts(read(new NdjsonSplitter({ maxRecordBytes: 20 }), `{"a":}\n1\n"${"x".repeat(30)}"\n2\n`))).toEqual([
      'line 1: capture.json_malformed: column 6: expected a value, found "}"',
      "1",
      "line 3: request.too_large: the record is larger than 20 bytes: split it, or check that its end is not missing",
      "2",
    ]);
  });

  it("never allows records over the hard limit", () => {
    const items = read(new NdjsonSplitter({ maxRecordBytes: 1e9 }), `"${"x".repeat(1024 * 1024)}"\n1`);
    expect(items.map((item) => item.kind)).toEqual(["reject", "record"]);
  });
});

describe("a JSON array", () => {
  it("is split into its elements as they were sent", () => {
    const items = read(new JsonArraySplitter(), '[ {"a": [1, "]"]},\n 12345678901234567890 , "\\"," ]\n');
    expect(texts(items)).toEqual(['{"a": [1, "]"]}', "12345678901234567890", '"\\","']);
    expect(items.map((item) => item.line)).toEqual([1, 2, 2]);
  });

  it("may be empty", () => expect(read(new JsonArraySplitter(), " [ ] ")).toEqual([]));

  it("rejects broken elements and reads on", () => {
    expect(texts(read(new JsonArraySplitter(), '[{"a":1},{bad},,3,]'))).toEqual([
      '{"a":1}',
      'line 1: capture.json_malformed: column 2: expected a member name in "double quotes", found "bad}"',
      'line 1: capture.json_malformed: an element is missing before this ",": remove a comma',
      "3",
      'line 1: capture.json_malformed: an element is missing before this "]": remove a comma',
    ]);
  });

  it("says when it is cut off, when something follows, and when it is none", () => {
    expect(texts(read(new JsonArraySplitter(), '[1,{"a":'))).toEqual([
      "1",
      'line 1: import.malformed: the array is not closed: the body ends before its "]"; send the rest from the last record on',
    ]);
    expect(texts(read(new JsonArraySplitter(), "[1]\n[2]"))).toEqual([
      "1",
      'line 2: import.malformed: text after the closing "]" of the array is not read: send one array per import',
    ]);
    expect(() => read(new JsonArraySplitter(), '{"a":1}')).toThrow('not a JSON array: it begins with "{"');
    expect(() => read(new JsonArraySplitter(), " ")).toThrow("the body is empty");
  });

  it("forgets the whitespace behind an element", () => {
    const splitter = new JsonArraySplitter({ maxRecordBytes: 100 });
    splitter.push(Buffer.from("[1"));
    for (let i = 0; i < 1000; i++) splitter.push(Buffer.alloc(1000, 0x20));
    expect(splitter.push(Buffer.from(",2]")).map((item) => [item.kind, item.byteEnd])).toEqual([
      ["record", 1_000_003],
      ["record", 1_000_005],
    ]);
  });
});

describe("detectFormat", () => {
  it.each([
    ["application/x-ndjson", { format: "ndjson" }],
    ["application/json; charset=utf-8", { format: "json-array" }],
    ['Text/CSV; charset="UTF-8"; header=present', { format: "csv" }],
    ["text/tab-separated-values", { format: "csv", delimiter: "\t" }],
    ["text/csv; charset=iso-8859-1", undefined],
    ["application/pdf", undefined],
  ])("%s", (contentType, expected) => expect(detectFormat(contentType)).toEqual(expected));
});
