/** record.filter: lets a record pass when its condition holds. */
import { FILTERED, type Json, type OperationDescription } from "@onedata/core";
import { requireConfig } from "../check-config.ts";
import { readExamples } from "../examples.ts";
import { compileExpression } from "../expression/index.ts";
import type { Operation } from "../operation.ts";
import { one } from "../outcomes.ts";
import { text } from "../read-config.ts";
import { isTrue } from "../truth.ts";
import examples from "./examples.json" with { type: "json" };

const description: OperationDescription = {
  name: "record.filter",
  title: "Keep records that meet a condition",
  doc: [
    "Keeps the record when `where` is true, and filters it out otherwise. A filtered record is a final answer, neither delivered nor dead.",
    'Values that are not true or false count as JSONata\'s `$boolean` says: absent, null, 0, "", [] and {} are false. A comparison of a missing member is false or absent: both filter.',
  ].join("\n"),
  shape: "filter",
  effects: "none",
  configSchema: {
    type: "object",
    additionalProperties: false,
    required: ["where"],
    properties: { where: { type: "string", format: "jsonata", description: "the condition" } },
  },
  examples: readExamples("record.filter", examples),
};

export const recordFilter: Operation = {
  description,
  compile(config) {
    const condition = compileExpression(text(requireConfig(description, config), "where") ?? "");
    const decide = (record: Json, value: Json | undefined) => (isTrue(value) ? one(record) : FILTERED);
    const { evaluateSync } = condition;
    return evaluateSync === undefined
      ? { apply: async (record, clock) => decide(record, await condition.evaluate(record, clock)) }
      : { apply: (record, clock) => decide(record, evaluateSync(record, clock)) };
  },
};
