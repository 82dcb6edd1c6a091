/** What holds for every format: the items depend on the bytes, not on the chunks; broken lines harm nobody; reading can go on from any item. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CsvSplitter } from "./csv.ts";
import { JsonArraySplitter } from "./json-array.ts";
import { NdjsonSplitter } from "./ndjson.ts";
import { readStream, type Splitter, type StreamItem, type StreamOptions } from "./record-stream.ts";

type Kind = {
  readonly name: string;
  readonly create: (options: StreamOptions) => Splitter;
  readonly alphabet: readonly string[];
  readonly prefix: string;
};
const kinds: readonly Kind[] = [
  {
    name: "NDJSON",
    create: (options) => new NdjsonSplitter(options),
    alphabet: ['{"a":1}', "12345678901234567890", '"å"', "\n", "\n", "\r\n", " ", "nope", "\ufeff", '"', "x".repeat(40), "\xff"],
    prefix: "",
  },
  {
    name: "JSON array",
    create: (options) => new JsonArraySplitter(options),
    alphabet: ['{"a":[1,"]"]}', '"\\""', "1", ",", ",", "]", "[", "}", "\n", "      ", '"', "x".repeat(40), "\\", "\xff"],
    prefix: " [",
  },
  {
    name: "CSV",
    create: (options) => new CsvSplitter({ ...options, columns: ["a", "b"], delimiter: ",", headerRow: false }),
    alphabet: ["a", ",", ",", "\n", "\n", "\r\n", "\r", '"', '"', '""', "å", "x".repeat(40), "\ufeff", "\xff"],
    prefix: "",
  },
  {
    name: "CSV with a header",
    create: (options) => new CsvSplitter(options),
    alphabet: ["a", ";", ";", "\n", "\r", '"', "\r\n", "b,c"],
    prefix: "\nä;b\n",
  },
  {
    name: "CSV with CR line ends",
    create: (options) => new CsvSplitter({ ...options, rejectHeaderAlone: true }),
    alphabet: ["a", ";", ";", "\r", "\r", '"', '"', '""', "x".repeat(40), "\n"],
    prefix: "\rä;b\r",
  },
];

/** `\xff` stands for the byte 0xff, which no UTF-8 text has. */
const toBytes = (text: string): Buffer =>
  Buffer.concat(text.split("\xff").flatMap((part, i) => (i === 0 ? [Buffer.from(part)] : [Buffer.from([0xff]), Buffer.from(part)])));

function run(splitter: Splitter, chunks: readonly Uint8Array[]): StreamItem[] | string {
  try {
    // The chunk may be reused by its owner: hand out a copy and spoil it.
    const items = chunks.flatMap((chunk) => {
      const lent = Uint8Array.from(chunk);
      const made = splitter.push(lent);
      lent.fill(0x21);
      return made;
    });
    return [...items, ...splitter.end()];
  } catch (error) {
    return String(error);
  }
}

function cut(bytes: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let at = 0;
  for (let i = 0; at < bytes.byteLength; i++) {
    const size = sizes[i % sizes.length] ?? 1;
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return chunks;
}

describe.each(kinds)("$name", ({ create, alphabet, prefix }) => {
  const content = fc.array(fc.constantFrom(...alphabet), { maxLength: 60 }).map((parts) => toBytes(prefix + parts.join("")));

  it("makes the same items of any chunking", () => {
    fc.assert(
      fc.property(content, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 8 }), (bytes, sizes) => {
        const whole = run(create({ maxRecordBytes: 50 }), [bytes]);
        expect(run(create({ maxRecordBytes: 50 }), cut(bytes, sizes))).toEqual(whole);
        expect(run(create({ maxRecordBytes: 50 }), cut(bytes, [1]))).toEqual(whole);
      }),
      { numRuns: 2000 },
    );
  });

  it("counts lines up and positions forward, and every record is JSON", () => {
    fc.assert(
      fc.property(content, (bytes) => {
        const items = run(create({ maxRecordBytes: 50 }), [bytes]);
        if (typeof items === "string") return;
        let [line, byteEnd] = [0, 0];
        for (const item of items) {
          expect(item.line).toBeGreaterThanOrEqual(line);
          expect(item.byteEnd).toBeGreaterThanOrEqual(byteEnd);
          expect(item.byteEnd).toBeLessThanOrEqual(bytes.byteLength);
          [line, byteEnd] = [item.line, item.byteEnd];
          if (item.kind === "record") JSON.parse(item.text);
          else expect(item.message).not.toBe("");
        }
      }),
      { numRuns: 500 },
    );
  });

  it("goes on from any item as if it had never stopped", () => {
    if (prefix.includes(";")) return; // a stream with a header goes on with its columns given
    fc.assert(
      fc.property(content, fc.nat(), (bytes, pick) => {
        const whole = run(create({ maxRecordBytes: 50 }), [bytes]);
        if (typeof whole === "string" || whole.length < 2) return;
        const k = pick % (whole.length - 1);
        const last = whole[k];
        const next = whole[k + 1];
        if (
          last === undefined ||
          next === undefined ||
          last.byteEnd >= bytes.byteLength ||
          next.byteEnd <= last.byteEnd ||
          /after the closing/.test(JSON.stringify(next))
        )
          return;
        const rest = run(create({ maxRecordBytes: 50, startByte: last.byteEnd, startLine: 1 }), [bytes.subarray(last.byteEnd)]);
        const positions = (items: StreamItem[] | string): unknown =>
          typeof items === "string" ? items : items.map((item) => [item.kind, item.byteEnd, item.kind === "record" ? item.text : item.code]);
        expect(positions(rest)).toEqual(positions(whole.slice(k + 1)));
      }),
      { numRuns: 500 },
    );
  });
});

describe("readStream", () => {
  it("yields batches as chunks arrive, and closes the source when the reader stops early", async () => {
    let closed = false;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        yield toBytes("1\n2\n3");
        yield toBytes("4\n");
        yield toBytes("5");
      } finally {
        closed = true;
      }
    }
    const texts: string[][] = [];
    for await (const items of readStream(source(), new NdjsonSplitter())) {
      texts.push(items.map((item) => (item.kind === "record" ? item.text : "rejected")));
      if (texts.length === 2) break;
    }
    expect(texts).toEqual([["1", "2"], ["34"]]);
    expect(closed).toBe(true);
  });
});
