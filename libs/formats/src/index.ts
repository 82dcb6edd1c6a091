export { type CsvDelimiter, type CsvHeader, type CsvOptions, CsvSplitter, readCsv } from "./csv.ts";
export type { EmptyAs } from "./csv-row.ts";
export { detectFormat, IMPORT_MEDIA_TYPES, type ImportFormat } from "./detect-format.ts";
export { parseJson, stringifyJson, survivesAsDouble } from "./json.ts";
export { JsonArraySplitter, readJsonArray } from "./json-array.ts";
export {
  type CheckedJson,
  checkJsonBytes,
  checkJsonText,
  DEFAULT_JSON_LIMITS,
  decodeUtf8,
  HARD_MAX_RECORD_BYTES,
  type JsonLimits,
} from "./json-check.ts";
export { type JsonError, locateJsonError } from "./json-error.ts";
export { NdjsonSplitter, readNdjson } from "./ndjson.ts";
export { readStream, type Splitter, type StreamItem, type StreamOptions, type StreamRecord, type StreamReject } from "./record-stream.ts";
