/** record.rename: gives members other names, or moves them. */
import type { Json, OperationDescription } from "@onedata/core";
import { requireConfig } from "../check-config.ts";
import { readExamples } from "../examples.ts";
import { assignMember, getMember, type MemberPath, parseMemberPath, removeMember } from "../member-path.ts";
import type { Operation } from "../operation.ts";
import { failed, one, requireObject } from "../outcomes.ts";
import { textMembers } from "../read-config.ts";
import examples from "./examples.json" with { type: "json" };

const description: OperationDescription = {
  name: "record.rename",
  title: "Rename or move members",
  doc: 'Moves each member on the left of `fields` to the path on its right, all at once: `{"a": "b", "b": "a"}` swaps them. A member that is not there is no failure. A record whose target holds another member already fails (record.invalid), so nothing is overwritten unseen; drop that member first with record.map and `unset`.',
  shape: "map",
  effects: "none",
  configSchema: {
    type: "object",
    additionalProperties: false,
    required: ["fields"],
    properties: {
      fields: {
        type: "object",
        minProperties: 1,
        maxProperties: 500,
        propertyNames: { type: "string", format: "member-path" },
        additionalProperties: { type: "string", format: "member-path" },
        description: "old path → new path",
      },
    },
  },
  examples: readExamples("record.rename", examples),
};

type Move = { readonly from: MemberPath; readonly to: MemberPath };

export const recordRename: Operation = {
  description,
  compile(config) {
    const moves = textMembers(requireConfig(description, config)["fields"]).map(
      ([from, to]): Move => ({ from: parseMemberPath(from), to: parseMemberPath(to) }),
    );
    return {
      apply(input) {
        const record = requireObject(input);
        const found: { readonly to: MemberPath; readonly value: Json }[] = [];
        const output = { ...record };
        for (const { from, to } of moves) {
          const value = getMember(record, from);
          if (value !== undefined) found.push({ to, value });
          removeMember(output, from);
        }
        for (const { to, value } of found) {
          if (getMember(output, to) !== undefined)
            return failed("record.invalid", `cannot rename to "${to.text}": the record has such a member; unset it first, or choose another name`);
          assignMember(output, to, value);
        }
        return one(output);
      },
    };
  },
};
