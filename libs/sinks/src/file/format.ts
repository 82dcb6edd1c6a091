/** Output rows to bytes of a file: NDJSON, or CSV (RFC 4180). Pure. */
import { isJsonObject, type Json, OneDataError } from "@onedata/core";
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

/** One file's worth of lines. A CSV column set is fixed by the first record: later members without a column are an error where columns are configured, and dropped otherwise. */
export function createEncoder(format: FileFormat): (json: string) => string {
  if (format.kind === "ndjson") return (json) => `${oneLine(json)}\n`;
  let columns = format.columns;
  let headed = !format.header;
  return (json) => {
    const value = parseJson(json);
    if (!isJsonObject(value)) throw new OneDataError("record.not_an_object", `file.csv needs objects, the record is ${json.slice(0, 80)}`);
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
  if (typeof value === "string") return value === "" ? '""' : quote(options.escapeFormulas && /^[=+\-@\t\r]/.test(value) ? `'${value}` : value, options);
  return quote(stringifyJson(value), options);
}

const quote = (text: string, { delimiter }: CsvOptions): string => (text.includes('"') || text.includes("\n") || text.includes("\r") || text.includes(delimiter) || /^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
