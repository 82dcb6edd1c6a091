import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { detect, formatOfFile, type InputOptions, readInputRecords } from "./input.ts";

async function read(bytes: Uint8Array, options: InputOptions = {}): Promise<string[]> {
  const texts: string[] = [];
  for await (const items of await readInputRecords(Readable.from([bytes]), options))
    for (const item of items) texts.push(item.kind === "record" ? item.text : `reject ${item.code}`);
  return texts;
}

describe("input of a run", () => {
  it.each([
    ['[{"a":1}]', "json"],
    ['\ufeff  [\n{"a":1}]', "json"],
    ['{"a":1}\n{"a":2}', "ndjson"],
    ['"text"\n', "ndjson"],
    ["12\n13\n", "ndjson"],
    ["id,name\n1,x\n", "csv"],
    ['"id","name"\n1,x\n', "csv"],
  ])("takes %j for %s", (text, format) => {
    expect(detect(Buffer.from(text))).toBe(format);
  });

  it("goes by the file's name where it says something", () => {
    expect(["a.csv", "a.tsv.gz", "a.ndjson", "x/a.jsonl.gz", "a.json", "a", undefined].map(formatOfFile)).toEqual([
      "csv",
      "csv",
      "ndjson",
      "ndjson",
      undefined,
      undefined,
      undefined,
    ]);
  });

  it("opens gzip by its first bytes, and takes any format from it", async () => {
    expect(await read(gzipSync('[{"a":1},{"a":2}]'))).toEqual(['{"a":1}', '{"a":2}']);
    expect(await read(Buffer.from("a;b\n1;2\n"), { fileName: "x.csv" })).toEqual(['{"a":"1","b":"2"}']);
    expect(await read(new Uint8Array())).toEqual([]);
  });

  it("reads CSV whose lines end with CR alone, and tells of a header line that nothing follows", async () => {
    expect(await read(Buffer.from("id,name\r1,a\r2,b\r"))).toEqual(['{"id":"1","name":"a"}', '{"id":"2","name":"b"}']);
    expect(await read(Buffer.from("1,Ola\r"))).toEqual(["reject import.row_malformed"]);
  });

  it("rejects a line and goes on", async () => {
    expect(await read(Buffer.from('{"a":1}\n{oops\n{"a":2}\n'))).toEqual(['{"a":1}', "reject capture.json_malformed", '{"a":2}']);
  });
});
