export { type CsvDelimiter, type CsvHeader, type CsvOptions, CsvSplitter, readCsv } from "./csv.ts";
export type { EmptyAs } from "./csv-row.ts";
export { detectFormat, IMPORT_MEDIA_TYPES, type ImportFormat } from "./detect-format.ts";
export { JsonArraySplitter, readJsonArray } from "./json-array.ts";
export { checkJsonBytes, type CheckedJson, checkJsonText, decodeUtf8, DEFAULT_JSON_LIMITS, HARD_MAX_RECORD_BYTES, type JsonLimits } from "./json-check.ts";
export { type JsonError, locateJsonError } from "./json-error.ts";
export { parseJson, stringifyJson, survivesAsDouble } from "./json.ts";
export { NdjsonSplitter, readNdjson } from "./ndjson.ts";
export { readStream, type Splitter, type StreamItem, type StreamOptions, type StreamRecord, type StreamReject } from "./record-stream.ts";
