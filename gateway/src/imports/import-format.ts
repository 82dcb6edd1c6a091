/** How the body of an import is read: from the request, or as it was begun. */
import { isJsonObject, type Json, type JsonObject, OneDataError } from "@onedata/core";
import { type CsvDelimiter, type CsvHeader, CsvSplitter, detectFormat, JsonArraySplitter, NdjsonSplitter, type Splitter } from "@onedata/formats";

export type ImportFormat = {
  readonly format: "ndjson" | "json-array" | "csv";
  readonly delimiter?: CsvDelimiter;
  /** Names of the columns; none = the first line has them. */
  readonly columns?: readonly string[];
  readonly emptyAs?: "string" | "null" | "omit";
  /** What the header line of the first request said, for those that go on behind it. */
  readonly header?: CsvHeader;
};

const DELIMITERS: Readonly<Record<string, CsvDelimiter>> = {
  ",": ",",
  ";": ";",
  "|": "|",
  "\t": "\t",
  tab: "\t",
  comma: ",",
  semicolon: ";",
  pipe: "|",
};
const EMPTY_AS = ["string", "null", "omit"] as const;

/** Throws `request.unsupported_media_type` and `request.invalid`. */
export function readFormat(contentType: string | undefined, query: URLSearchParams): ImportFormat {
  const detected = contentType === undefined ? undefined : detectFormat(contentType);
  if (detected === undefined) {
    throw new OneDataError(
      "request.unsupported_media_type",
      `an import is application/x-ndjson, text/csv or application/json (one array), in UTF-8; got ${JSON.stringify((contentType ?? "").slice(0, 80))}`,
    );
  }
  if (detected.format !== "csv") return detected;
  const given = query.get("delimiter");
  const delimiter = given === null || given === "" ? detected.delimiter : DELIMITERS[given];
  if (given !== null && given !== "" && delimiter === undefined)
    throw invalid("/delimiter", `the delimiter is one of , ; | or tab; got ${JSON.stringify(given.slice(0, 20))}`);
  const columns = query
    .getAll("header")
    .flatMap((value) => value.split(","))
    .map((name) => name.trim());
  if (columns.some((name) => name === "") || new Set(columns).size < columns.length)
    throw invalid("/header", "the names of the columns must be given once each, none of them empty");
  const emptyAs = EMPTY_AS.find((choice) => choice === query.get("emptyAs"));
  if (emptyAs === undefined && query.get("emptyAs") !== null) throw invalid("/emptyAs", "emptyAs is string, null or omit");
  return {
    format: "csv",
    ...(delimiter === undefined ? {} : { delimiter }),
    ...(columns.length === 0 ? {} : { columns }),
    ...(emptyAs === undefined ? {} : { emptyAs }),
  };
}

const invalid = (pointer: string, detail: string): OneDataError =>
  new OneDataError("request.invalid", detail, { violations: [{ pointer, code: "import.option", detail }] });

/** The format as it was stored with the import. */
export function parseFormat(text: string): ImportFormat {
  const value: Json = JSON.parse(text);
  const found = isJsonObject(value) ? value : {};
  const format = found["format"];
  const emptyAs = EMPTY_AS.find((choice) => choice === found["emptyAs"]);
  const header = isJsonObject(found["header"]) ? toCsv(found["header"]) : {};
  return {
    format: format === "csv" || format === "json-array" ? format : "ndjson",
    ...toCsv(found),
    ...(emptyAs === undefined ? {} : { emptyAs }),
    ...(header.columns === undefined || header.delimiter === undefined ? {} : { header: { columns: header.columns, delimiter: header.delimiter } }),
  };
}

function toCsv(found: JsonObject): { delimiter?: CsvDelimiter; columns?: readonly string[] } {
  const delimiter = typeof found["delimiter"] === "string" ? DELIMITERS[found["delimiter"]] : undefined;
  const columns = Array.isArray(found["columns"]) ? found["columns"].filter((name) => typeof name === "string") : undefined;
  return { ...(delimiter === undefined ? {} : { delimiter }), ...(columns === undefined ? {} : { columns }) };
}

export type Start = { readonly byte: number; readonly line: number; readonly maxRecordBytes: number };

/** `onHeader` tells what a request that goes on later needs to know. */
export function openSplitter(format: ImportFormat, start: Start, onHeader: (header: CsvHeader) => void): Splitter {
  const options = { startByte: start.byte, startLine: start.line, maxRecordBytes: start.maxRecordBytes };
  switch (format.format) {
    case "ndjson":
      return new NdjsonSplitter(options);
    case "json-array":
      return new JsonArraySplitter(options);
    case "csv": {
      const { delimiter, columns, emptyAs } = start.byte > 0 && format.header !== undefined ? { ...format, ...format.header } : format;
      return new CsvSplitter({
        ...options,
        onHeader,
        rejectHeaderAlone: true,
        ...(delimiter === undefined ? {} : { delimiter }),
        ...(columns === undefined ? {} : { columns, headerRow: false }),
        ...(emptyAs === undefined ? {} : { emptyAs }),
      });
    }
  }
}
