/** record.pick: keeps the named members and drops the rest. */
import type { JsonObject, OperationDescription } from "@onedata/core";
import { requireConfig } from "../check-config.ts";
import { readExamples } from "../examples.ts";
import { assignMember, getMember, parseMemberPath } from "../member-path.ts";
import type { Operation } from "../operation.ts";
import { one, requireObject } from "../outcomes.ts";
import { texts } from "../read-config.ts";
import examples from "./examples.json" with { type: "json" };

const description: OperationDescription = {
  name: "record.pick",
  title: "Keep some members",
  doc: 'Keeps the members that `fields` names, in that order, and drops all others. Paths keep their nesting: `address.city` leaves `{"address": {"city": …}}`. A member that is not there is no failure; check what must be there with record.validate.',
  shape: "map",
  effects: "none",
  configSchema: {
    type: "object",
    additionalProperties: false,
    required: ["fields"],
    properties: {
      fields: {
        type: "array",
        items: { type: "string", format: "member-path" },
        minItems: 1,
        maxItems: 500,
        uniqueItems: true,
        description: "paths to keep",
      },
    },
  },
  examples: readExamples("record.pick", examples),
};

export const recordPick: Operation = {
  description,
  compile(config) {
    const paths = texts(requireConfig(description, config)["fields"]).map(parseMemberPath);
    return {
      apply(input) {
        const record = requireObject(input);
        const output: JsonObject = {};
        for (const path of paths) {
          const value = getMember(record, path);
          // `a.b` behind `a` finds it there already.
          if (value !== undefined && getMember(output, path) === undefined) assignMember(output, path, value);
        }
        return one(output);
      },
    };
  },
};
