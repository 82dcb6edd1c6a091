/** Records from a stream of bytes: gzip by its first bytes, the format by name, by file extension, or by what the stream begins with. */

import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { type CsvDelimiter, locateJsonError, readCsv, readJsonArray, readNdjson, type StreamItem } from "@onedata/formats";

export const formats = ["ndjson", "csv", "json"] as const;
export type Format = (typeof formats)[number];

export const delimiters: Readonly<Record<string, CsvDelimiter>> = { ",": ",", ";": ";", "|": "|", tab: "\t" };

export type InputOptions = {
  readonly format?: Format | undefined;
  readonly delimiter?: CsvDelimiter | undefined;
  readonly fileName?: string | undefined;
};

export async function readInputRecords(
  bytes: AsyncIterable<Uint8Array>,
  { format, delimiter, fileName }: InputOptions,
): Promise<AsyncGenerator<StreamItem[], void, undefined>> {
  const raw = await peek(bytes);
  const plain = raw.head[0] === 0x1f && raw.head[1] === 0x8b ? await peek(Readable.from(raw.all).pipe(createGunzip())) : raw;
  switch (format ?? formatOfFile(fileName) ?? detect(plain.head)) {
    case "csv":
      return readCsv(plain.all, { rejectHeaderAlone: true, ...(delimiter === undefined ? {} : { delimiter }) });
    case "json":
      return readJsonArray(plain.all);
    case "ndjson":
      return readNdjson(plain.all);
  }
}

/** By the name, `.gz` left aside; a `.json` file may be either kind, so it is looked into. */
export function formatOfFile(name: string | undefined): Format | undefined {
  const extension = /\.([a-z]+)(?:\.gz)?$/i.exec(name ?? "")?.[1]?.toLowerCase() ?? "";
  if (extension === "csv" || extension === "tsv") return "csv";
  return extension === "ndjson" || extension === "jsonl" ? "ndjson" : undefined;
}

/** JSON arrays begin with a bracket, NDJSON with a JSON value on the first line; the rest is CSV. */
export function detect(head: Uint8Array): Format {
  const text = Buffer.from(head)
    .toString("utf8")
    .replace(/^\ufeff/, "")
    .trimStart();
  if (text.startsWith("[")) return "json";
  if (text.startsWith("{")) return "ndjson";
  const [line = ""] = text.split("\n", 1);
  return line === "" || locateJsonError(line) === undefined ? "ndjson" : "csv";
}

type Peeked = { readonly head: Uint8Array; readonly all: AsyncIterable<Uint8Array> };

export async function peek(bytes: AsyncIterable<Uint8Array>): Promise<Peeked> {
  const iterator = bytes[Symbol.asyncIterator]();
  let next = await iterator.next();
  while (next.done !== true && next.value.byteLength === 0) next = await iterator.next();
  const head = next.done === true ? new Uint8Array() : next.value;
  return { head, all: { [Symbol.asyncIterator]: () => restOf(head, iterator) } };
}

async function* restOf(head: Uint8Array, iterator: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    if (head.byteLength > 0) yield head;
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value;
  } finally {
    await iterator.return?.();
  }
}
