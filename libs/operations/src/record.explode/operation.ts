/** record.explode: one record becomes one per element of an array. */
import { FILTERED, isJsonObject, type Json, type JsonObject, type OperationDescription } from "@onedata/core";
import { requireConfig } from "../check-config.ts";
import { readExamples } from "../examples.ts";
import { MAX_OUTPUTS_PER_RECORD } from "../limits.ts";
import { assignMember, getMember, parseMemberPath, removeMember } from "../member-path.ts";
import type { Operation } from "../operation.ts";
import { describe, failed, many, requireObject } from "../outcomes.ts";
import { choice, text, texts } from "../read-config.ts";
import examples from "./examples.json" with { type: "json" };

const path = { type: "string", format: "member-path" } as const;

const description: OperationDescription = {
  name: "record.explode",
  title: "One record per element of an array",
  doc: [
    "Makes one record of each element of the array at `path`. With `as`, the element stands under that path beside the record's other members (all but the array, or those that `keep` lists). Without `as`, the element is the record; with `keep`, those members stand beside the element's own, which win.",
    "`index` adds the element's position, from 0. An empty array leaves nothing: the record is filtered. `missing` says what becomes of a record without the array (absent or null): `dead` (record.invalid), `filter`, or `keep` as it is. At most 10,000 elements.",
  ].join("\n"),
  shape: "flatMap",
  effects: "none",
  configSchema: {
    type: "object",
    additionalProperties: false,
    required: ["path"],
    properties: {
      path: { ...path, description: "where the array is" },
      as: { ...path, description: "where each element goes" },
      keep: { type: "array", items: path, maxItems: 500, description: "members of the record to keep" },
      index: { ...path, description: "where the element's position goes" },
      missing: { enum: ["dead", "filter", "keep"], default: "dead" },
    },
  },
  examples: readExamples("record.explode", examples),
};

export const recordExplode: Operation = {
  description,
  compile(config) {
    const members = requireConfig(description, config);
    const from = parseMemberPath(text(members, "path") ?? "");
    const asText = text(members, "as");
    const as = asText === undefined ? undefined : parseMemberPath(asText);
    const indexText = text(members, "index");
    const index = indexText === undefined ? undefined : parseMemberPath(indexText);
    const keep = members["keep"] === undefined ? undefined : texts(members["keep"]).map(parseMemberPath);
    const missing = choice(members, "missing", ["dead", "filter", "keep"]);

    const keptOf = (record: JsonObject): JsonObject => {
      const kept: JsonObject = {};
      if (keep !== undefined) {
        for (const each of keep) {
          const value = getMember(record, each);
          if (value !== undefined) assignMember(kept, each, value);
        }
      } else if (as !== undefined) {
        Object.assign(kept, record);
        removeMember(kept, from);
      }
      return kept;
    };
    const needsObject = as === undefined && (keep !== undefined || index !== undefined);

    return {
      apply(input) {
        const record = requireObject(input);
        const elements = getMember(record, from);
        if (elements === undefined || elements === null) {
          if (missing === "filter") return FILTERED;
          return missing === "keep"
            ? many([record])
            : failed(
                "record.invalid",
                `"${from.text}" is ${describe(elements)}: nothing to explode; set missing to "filter" or "keep" if that may be`,
              );
        }
        if (!Array.isArray(elements)) return failed("record.invalid", `"${from.text}" is ${describe(elements)}, not an array`);
        if (elements.length > MAX_OUTPUTS_PER_RECORD)
          return failed("record.too_large", `"${from.text}" has ${elements.length} elements; the limit is ${MAX_OUTPUTS_PER_RECORD}`);
        const kept = keptOf(record);
        const outputs: Json[] = [];
        for (const [i, element] of elements.entries()) {
          if (as === undefined && !needsObject) {
            outputs.push(element);
            continue;
          }
          const output = { ...kept };
          if (as !== undefined) assignMember(output, as, element);
          else if (isJsonObject(element)) Object.assign(output, element);
          else
            return failed(
              "record.not_an_object",
              `element ${i} of "${from.text}" is ${describe(element)}: it cannot stand beside other members; name a place for it with "as"`,
            );
          if (index !== undefined) assignMember(output, index, i);
          outputs.push(output);
        }
        return outputs.length === 0 ? FILTERED : many(outputs);
      },
    };
  },
};
