import { parse } from "csv-parse/sync";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CsvHeader, type CsvOptions, CsvSplitter } from "./csv.ts";
import type { StreamItem } from "./record-stream.ts";

const read = (text: string | Uint8Array, options: CsvOptions = {}): StreamItem[] => {
  const splitter = new CsvSplitter(options);
  return [...splitter.push(typeof text === "string" ? Buffer.from(text) : text), ...splitter.end()];
};
const texts = (items: readonly StreamItem[]): string[] =>
  items.map((item) => (item.kind === "record" ? item.text : `line ${item.line}: ${item.code}: ${item.message}`));

const quote = (field: string): string => (/[",;|\t\r\n]/.test(field) || field === "" ? `"${field.replaceAll('"', '""')}"` : field);

describe("CSV", () => {
  it("reads quotes, embedded line ends, a byte order mark and CRLF", () => {
    const items = read('\ufeffid,name,note\r\n1,"Nordmann, Ola","said ""hi""\r\nand left"\r\n2,Kari 5" pipe,\r\n');
    expect(texts(items)).toEqual([
      '{"id":"1","name":"Nordmann, Ola","note":"said \\"hi\\"\\r\\nand left"}',
      '{"id":"2","name":"Kari 5\\" pipe","note":""}',
    ]);
    expect(items.map((item) => item.line)).toEqual([2, 4]);
  });

  it.each([",", ";", "\t", "|"] as const)("finds the delimiter %j by the header", (delimiter) => {
    let header: CsvHeader | undefined;
    expect(texts(read(`"a,;b"${delimiter}b\n1${delimiter}2\n`, { onHeader: (found) => (header = found) }))).toEqual(['{"a,;b":"1","b":"2"}']);
    expect(header).toEqual({ columns: ["a,;b", "b"], delimiter });
  });

  it("renames columns, takes given ones, and skips a header row it is told of", () => {
    expect(texts(read("ID,Full name\n1,Ola\n", { rename: { "Full name": "name" } }))).toEqual(['{"ID":"1","name":"Ola"}']);
    expect(texts(read("1,Ola\n", { columns: ["id", "name"] }))).toEqual(['{"id":"1","name":"Ola"}']);
    expect(texts(read("ID,N\n1,Ola\n", { columns: ["id", "name"], headerRow: true }))).toEqual(['{"id":"1","name":"Ola"}']);
  });

  it("makes of empty fields what it is told", () => {
    expect(texts(read("a,b\n,x\n", { emptyAs: "null" }))).toEqual(['{"a":null,"b":"x"}']);
    expect(texts(read("a,b\n,x\n", { emptyAs: "omit" }))).toEqual(['{"b":"x"}']);
  });

  it("rejects rows with too many or too few fields, and says what to do", () => {
    expect(texts(read("id,name\n1,Nordmann, Ola\n2\n3,Kari\n"))).toEqual([
      'line 2: import.row_malformed: the row has 3 fields, the header names 2: put a field that holds a "," in double quotes',
      'line 3: import.row_malformed: the row has 1 field, the header names 2: the first missing one is "name"; write an empty field for each, and check that the delimiter is ","',
      '{"id":"3","name":"Kari"}',
    ]);
  });

  it("goes on at the next line after invalid UTF-8, an unclosed quote, a misplaced quote and an oversized row", () => {
    const bytes = Buffer.concat([Buffer.from("a,b\n1,"), Buffer.from([0xff]), Buffer.from(`\n"2,x\n3,y\n"4"4,z\n5,${"x".repeat(200)}\n6,w\n`)]);
    const items = read(bytes, { maxRecordBytes: 100 });
    expect(items.map((item) => (item.kind === "record" ? item.text : `${item.line} ${item.code} ${item.excerpt.slice(0, 8)}`))).toEqual([
      "2 capture.utf8_invalid 1,\ufffd",
      '3 import.row_malformed "2,x',
      '{"a":"3","b":"y"}',
      '5 import.row_malformed "4"4,z',
      "6 request.too_large 5,xxxxxx",
      '{"a":"6","b":"w"}',
    ]);
  });

  it("ends rows at a CR alone, as at LF and CRLF", () => {
    const items = read('\rid,name\r1,a\r\r2,"b\rc"\n3,d\r\n4,e\r');
    expect(texts(items)).toEqual(['{"id":"1","name":"a"}', '{"id":"2","name":"b\\rc"}', '{"id":"3","name":"d"}', '{"id":"4","name":"e"}']);
    expect(items.map((item) => item.line)).toEqual([3, 5, 7, 8]);
    expect(texts(read('a,b\r1,"open\r2,y\r'))).toEqual([expect.stringMatching(/^line 2: import.row_malformed/), '{"a":"2","b":"y"}']);
    expect(read(`a,b\r1,${"x".repeat(200)}\r2,y`, { maxRecordBytes: 100 })).toMatchObject([
      { code: "request.too_large", line: 2 },
      { text: '{"a":"2","b":"y"}' },
    ]);
  });

  it("makes the same rows of any line ends", () => {
    const row = fc.array(fc.constantFrom("a", ",", '"q"', "\"q''\"", "é", '5" x'), { maxLength: 5 }).map((parts) => parts.join(""));
    fc.assert(
      fc.property(fc.array(fc.tuple(row, fc.constantFrom("\n", "\r\n", "\r")), { maxLength: 12 }), (lines) => {
        const same = (ends: (end: string) => string) => {
          // A line without a character between a CR and a LF would make them one line end.
          const text = lines.map(([line, end]) => `${line || "-"}${ends(end)}`).join("");
          return read(`h,i\n${text}`, { maxRecordBytes: 30 }).map(({ byteEnd: _, ...item }) => item);
        };
        expect(same((end) => end)).toEqual(same(() => "\n"));
      }),
      { numRuns: 500 },
    );
  });

  it("tells of a header row that nothing follows where it is asked to", () => {
    for (const text of ["1,Ola\n", "1,Ola", "\n1,Ola\r\n\r\n\n"]) {
      expect(texts(read(text, { rejectHeaderAlone: true }))).toEqual([
        expect.stringMatching(/^line [12]: import.row_malformed: nothing follows the header row/),
      ]);
      expect(read(text)).toEqual([]);
    }
    for (const text of ["a,b\n1,2", "a,b\n1", 'a,b\n"', `a,b\n${"x".repeat(99)}`])
      expect(texts(read(text, { rejectHeaderAlone: true, maxRecordBytes: 50 })).join()).not.toContain("nothing follows");
  });

  it("loses one line to a quote that is never closed, not the file", () => {
    const items = read(`a,b\n1,"open\n${"2,y\n".repeat(50)}`);
    expect(items).toHaveLength(51);
    expect(items[0]).toMatchObject({ kind: "reject", line: 2 });
  });

  it("does not read a hostile file more than a few times over", () => {
    const line = 'a","b\n'; // opens a quote, read from the start; keeps it open, read inside quotes
    const before = process.cpuUsage();
    const items = read(`a,b\n${line.repeat(200_000)}`);
    expect(items.length).toBeGreaterThan(3);
    // Of processor time: the clock would measure what else the machine does.
    expect(process.cpuUsage(before).user).toBeLessThan(3_000_000);
  });

  it.each([
    ["", "has no header row"],
    ["a,a\n1,2\n", 'names "a" twice'],
    ["a,,c\n", "column 2 of the header has no name"],
  ])("refuses the header of %j as a whole", (text, message) => {
    expect(() => read(text)).toThrow(message);
  });

  it("refuses a mapping of a column that is not there", () => {
    expect(() => read("a,b\n", { rename: { c: "d" } })).toThrow('no column "c"');
  });

  it("reads back whatever is written, as the reference does", () => {
    const field = fc.oneof(
      fc.string({ unit: "binary", maxLength: 8 }),
      fc.array(fc.constantFrom('"', ",", "\n", "\r", "a", ";", "__proto__"), { maxLength: 6 }).map((parts) => parts.join("")),
    );
    const table = fc
      .integer({ min: 1, max: 4 })
      .chain((width) => fc.array(fc.array(field, { minLength: width, maxLength: width }), { minLength: 1, maxLength: 8 }));
    fc.assert(
      fc.property(table, fc.constantFrom("\n", "\r\n", "\r"), fc.boolean(), (rows, lineEnd, ended) => {
        // Lone surrogates have no UTF-8.
        const clean = rows.map((row) => row.map((value) => Buffer.from(value).toString()));
        const columns = (clean[0] ?? []).map((_, i) => (i === 0 ? "__proto__" : `c${i}`));
        const text = clean.map((row) => row.map(quote).join(",")).join(lineEnd) + (ended ? lineEnd : "");
        const items = read(text, { columns, startByte: 1 });
        expect(items.map((item) => (item.kind === "record" ? Object.values(item.value as object) : item))).toEqual(clean);
        expect(items.map((item) => (item.kind === "record" ? Object.values(JSON.parse(item.text) as object) : item))).toEqual(clean);
        expect(parse(text, { bom: false, record_delimiter: lineEnd })).toEqual(clean);
      }),
      { numRuns: 500 },
    );
  });
});
