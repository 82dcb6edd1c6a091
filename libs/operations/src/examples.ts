/** Reads an `examples.json`, checked once when the operation is made. */
import { isJsonObject, type Json, OneDataError, type OperationExample } from "@onedata/core";

/** Throws `internal` when the file is not a list of examples: a mistake in the source. */
export function readExamples(operation: string, examples: unknown): readonly OperationExample[] {
  if (!Array.isArray(examples)) throw new OneDataError("internal", `${operation}: examples.json is not an array`);
  return examples.map((example: unknown, i) => {
    if (isExample(example)) return example;
    throw new OneDataError("internal", `${operation}: example ${i} needs name, config, input, and exactly one of outputs, filtered, fails`);
  });
}

function isExample(value: unknown): value is OperationExample {
  if (typeof value !== "object" || value === null || !("name" in value) || !("config" in value) || !("input" in value)) return false;
  const ends = ["outputs", "filtered", "fails"].filter((end) => end in value);
  return typeof value.name === "string" && isJsonObject(value.config as Json) && ends.length === 1; // narrowed by the check itself
}
