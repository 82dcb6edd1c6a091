/** record.validate: a JSON Schema that records must match. */
import { FILTERED, isJsonObject, type OperationDescription, type Violation } from "@onedata/core";
import { requireConfig } from "../check-config.ts";
import { readExamples } from "../examples.ts";
import type { Operation } from "../operation.ts";
import { failed, one } from "../outcomes.ts";
import { choice } from "../read-config.ts";
import { compileSchema } from "../schema/compile-schema.ts";
import examples from "./examples.json" with { type: "json" };

const MAX_LISTED = 5;

const description: OperationDescription = {
  name: "record.validate",
  title: "Check records against a JSON Schema",
  doc: [
    "Passes records that match the JSON Schema (2020-12, with formats) and dead-letters the others as record.invalid, naming each place by JSON Pointer; `onFail: filter` drops them instead.",
    "Patterns run on RE2 (linear time; no lookaround, no backreferences). Formats are checked. Schemas are bounded: 5,000 parts, 32 levels, references that do not multiply. A number beyond double precision is judged by its double.",
  ].join("\n"),
  shape: "filter",
  effects: "none",
  configSchema: {
    type: "object",
    additionalProperties: false,
    required: ["schema"],
    properties: {
      schema: { type: ["object", "boolean"], "x-json-schema": true, description: "JSON Schema 2020-12" },
      onFail: { enum: ["dead", "filter"], default: "dead", description: "what becomes of records that do not match" },
    },
  },
  examples: readExamples("record.validate", examples),
};

export const recordValidate: Operation = {
  description,
  compile(config) {
    const members = requireConfig(description, config);
    const check = compileSchema(isJsonObject(members["schema"]) ? members["schema"] : members["schema"] === true);
    const drop = choice(members, "onFail", ["dead", "filter"]) === "filter";
    return {
      apply(record) {
        const violations = check(record);
        if (violations.length === 0) return one(record);
        return drop ? FILTERED : failed("record.invalid", listViolations(violations));
      },
    };
  },
};

function listViolations(violations: readonly Violation[]): string {
  const listed = violations.slice(0, MAX_LISTED).map((v) => `${v.pointer === "" ? "the record" : v.pointer}: ${v.detail}`);
  return listed.join("; ") + (violations.length > MAX_LISTED ? `; and ${violations.length - MAX_LISTED} more` : "");
}
