/** Output rows to bytes of a file: NDJSON, or CSV (RFC 4180). Pure. */
import { isJsonObject, type Json } from "@onedata/core";
import { parseJson, stringifyJson } from "@onedata/formats";

export type CsvOptions = {
  readonly delimiter: string;
  readonly header: boolean;
  /** Absent = the members of the first record of the file. */
  readonly columns?: readonly string[];
  /** Puts a `'` before text that a spreadsheet would run as a formula. Off by default: it changes data. */
  readonly escapeFormulas: boolean;
};

export type FileFormat = { readonly kind: "ndjson" } | ({ readonly kind: "csv" } & CsvOptions);

/** One file's worth of lines. The columns of a CSV file are those configured, or the members of its first record; other members are left out. What is no object is its `value`. */
export function createEncoder(format: FileFormat): (json: string) => string {
  if (format.kind === "ndjson") return (json) => `${oneLine(json)}\n`;
  let columns = format.columns;
  let headed = !format.header;
  return (json) => {
    const parsed = parseJson(json);
    // A file cannot send a record to the dead letters any more, so nothing may fail here.
    const value = isJsonObject(parsed) ? parsed : { value: parsed };
    columns ??= Object.keys(value);
    const line = columns.map((column) => toCell(Object.hasOwn(value, column) ? (value[column] ?? null) : null, format)).join(format.delimiter);
    const head = headed ? "" : `${columns.map((column) => quote(column, format)).join(format.delimiter)}\r\n`;
    headed = true;
    return `${head}${line}\r\n`;
  };
}

/** Legal JSON may hold line breaks between tokens, and only there. */
const oneLine = (json: string): string => (json.includes("\n") || json.includes("\r") ? stringifyJson(parseJson(json)) : json);

function toCell(value: Json, options: CsvOptions): string {
  if (value === null) return "";
  if (typeof value === "string")
    return value === "" ? '""' : quote(options.escapeFormulas && /^[=+\-@\t\r]/.test(value) ? `'${value}` : value, options);
  return quote(stringifyJson(value), options);
}

const quote = (text: string, { delimiter }: CsvOptions): string =>
  text.includes('"') || text.includes("\n") || text.includes("\r") || text.includes(delimiter) || /^\s|\s$/.test(text)
    ? `"${text.replaceAll('"', '""')}"`
    : text;
