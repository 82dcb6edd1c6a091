/** parse.csv: opens CSV that travels as text, one record per row. */
import { FILTERED, type Json, type JsonObject, OneDataError, type OperationDescription } from "@onedata/core";
import { type CsvDelimiter, type CsvOptions, CsvSplitter, HARD_MAX_RECORD_BYTES, type StreamItem } from "@onedata/formats";
import { capturedText } from "../captured-text.ts";
import { requireConfig } from "../check-config.ts";
import { readExamples } from "../examples.ts";
import { MAX_OUTPUTS_PER_RECORD } from "../limits.ts";
import { assignMember, getMember, parseMemberPath } from "../member-path.ts";
import type { Operation } from "../operation.ts";
import { failed, many } from "../outcomes.ts";
import { choice, text, texts } from "../read-config.ts";
import examples from "./examples.json" with { type: "json" };

const DELIMITERS: readonly CsvDelimiter[] = [",", ";", "\t", "|"];

const description: OperationDescription = {
  name: "parse.csv",
  title: "Open CSV that travels as text",
  doc: [
    'Reads the CSV text in the member `path`, or in the whole record (a string, or a payload captured as `{"mediaType", "text" | "base64"}`), and makes one record of each row. All values are text; let record.cast follow.',
    "The first row names the columns unless `columns` does; the delimiter is the one of `,` `;` tab `|` that the header has most of, unless stated. `keep` copies members of the record into every row (the row's own win). `emptyAs` says what empty cells become. A text without rows, or without anything but white space, leaves nothing: filtered. A row that cannot be read fails the record (record.parse_failed), naming the line. At most 10,000 rows.",
  ].join("\n"),
  shape: "flatMap",
  effects: "none",
  configSchema: {
    type: "object",
    additionalProperties: false,
    properties: {
      path: { type: "string", format: "member-path", description: "where the text is; left out: the whole record" },
      delimiter: { enum: [...DELIMITERS] },
      columns: {
        type: "array",
        items: { type: "string", minLength: 1 },
        minItems: 1,
        maxItems: 1000,
        uniqueItems: true,
        description: "names, where the text has no header row",
      },
      keep: {
        type: "array",
        items: { type: "string", format: "member-path" },
        maxItems: 500,
        description: "members of the record to copy into every row",
      },
      emptyAs: { enum: ["string", "null", "omit"], default: "string" },
    },
  },
  examples: readExamples("parse.csv", examples),
};

export const parseCsvText: Operation = {
  description,
  compile(config) {
    const members = requireConfig(description, config);
    const pathText = text(members, "path");
    const path = pathText === undefined ? undefined : parseMemberPath(pathText);
    const keep = texts(members["keep"]).map(parseMemberPath);
    const delimiter = DELIMITERS.find((each) => each === members["delimiter"]);
    const columns = texts(members["columns"]);
    const options: CsvOptions = {
      maxRecordBytes: HARD_MAX_RECORD_BYTES,
      emptyAs: choice(members, "emptyAs", ["string", "null", "omit"]),
      ...(delimiter === undefined ? {} : { delimiter }),
      ...(columns.length === 0 ? {} : { columns }),
    };
    return {
      apply(record) {
        const where = path === undefined ? "the record" : `"${path.text}"`;
        const csv = capturedText(record, path);
        if (csv.trim() === "") return FILTERED;
        const items = readAll(csv, options, where);
        if (items.length > MAX_OUTPUTS_PER_RECORD)
          return failed("record.too_large", `${where} has ${items.length} rows; the limit is ${MAX_OUTPUTS_PER_RECORD}: send it as an import`);
        const kept: JsonObject = {};
        for (const each of keep) {
          const value = getMember(record, each);
          if (value !== undefined) assignMember(kept, each, value);
        }
        const rows: Json[] = [];
        for (const item of items) {
          if (item.kind === "reject") return failed("record.parse_failed", `${where}, line ${item.line}: ${item.message}`);
          rows.push(keep.length === 0 ? item.value : Object.assign({ ...kept }, item.value));
        }
        return rows.length === 0 ? FILTERED : many(rows);
      },
    };
  },
};

function readAll(csv: string, options: CsvOptions, where: string): StreamItem[] {
  try {
    const splitter = new CsvSplitter(options);
    return [...splitter.push(Buffer.from(csv)), ...splitter.end()];
  } catch (cause) {
    throw new OneDataError("record.parse_failed", `${where} is not CSV: ${OneDataError.from(cause).message}`, { cause });
  }
}
