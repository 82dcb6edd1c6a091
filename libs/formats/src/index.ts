export { checkJsonBytes, type CheckedJson, checkJsonText, decodeUtf8, DEFAULT_JSON_LIMITS, HARD_MAX_RECORD_BYTES, type JsonLimits } from "./json-check.ts";
export { type JsonError, locateJsonError } from "./json-error.ts";
export { parseJson, stringifyJson, survivesAsDouble } from "./json.ts";
