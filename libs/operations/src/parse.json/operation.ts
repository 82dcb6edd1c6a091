/** parse.json: opens JSON that travels as text. */
import type { OperationDescription } from "@onedata/core";
import { checkJsonText, DEFAULT_JSON_LIMITS } from "@onedata/formats";
import { capturedText } from "../captured-text.ts";
import { requireConfig } from "../check-config.ts";
import { readExamples } from "../examples.ts";
import { parseMemberPath, withMember } from "../member-path.ts";
import type { Operation } from "../operation.ts";
import { failed, one, requireObject } from "../outcomes.ts";
import { text } from "../read-config.ts";
import examples from "./examples.json" with { type: "json" };

const description: OperationDescription = {
  name: "parse.json",
  title: "Open JSON that travels as text",
  doc: 'Reads the JSON text in the member `path`, or in the whole record: a string, or a payload of another media type, captured as `{"mediaType", "text" | "base64"}`. With `path` the value goes to `as`, or replaces the text; without `path` it becomes the record. Numbers are kept exactly. For one record per element of an array, let record.explode follow.',
  shape: "map",
  effects: "none",
  configSchema: {
    type: "object",
    additionalProperties: false,
    dependentRequired: { as: ["path"] },
    properties: {
      path: { type: "string", format: "member-path", description: "where the text is; left out: the whole record" },
      as: { type: "string", format: "member-path", description: "where the value goes; left out: in place of the text" },
    },
  },
  examples: readExamples("parse.json", examples),
};

export const parseJsonText: Operation = {
  description,
  compile(config) {
    const members = requireConfig(description, config);
    const pathText = text(members, "path");
    const path = pathText === undefined ? undefined : parseMemberPath(pathText);
    const target = pathText === undefined ? undefined : parseMemberPath(text(members, "as") ?? pathText);
    return {
      apply(record) {
        const source = capturedText(record, path);
        const parsed = tryParse(source);
        if ("problem" in parsed)
          return failed("record.parse_failed", `${path === undefined ? "the record" : `"${path.text}"`} does not hold JSON: ${parsed.problem}`);
        return one(target === undefined ? parsed.value : withMember(requireObject(record), target, parsed.value));
      },
    };
  },
};

function tryParse(source: string): { value: ReturnType<typeof checkJsonText>["value"] } | { problem: string } {
  try {
    return { value: checkJsonText(source, DEFAULT_JSON_LIMITS).value };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}
