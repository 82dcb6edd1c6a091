/** record.map: sets members from expressions over the record as it came in, and removes others. Members it does not name pass untouched, exact numbers included. */
import type { OperationDescription } from "@onedata/core";
import { requireConfig } from "../check-config.ts";
import { readExamples } from "../examples.ts";
import { assignMember, type MemberPath, parseMemberPath, removeMember } from "../member-path.ts";
import type { Operation, RecordClock, Step } from "../operation.ts";
import { one, requireObject } from "../outcomes.ts";
import { textMembers, texts } from "../read-config.ts";
import { type AssignedValue, compileAssignedValue } from "./assigned-value.ts";
import examples from "./examples.json" with { type: "json" };

const description: OperationDescription = {
  name: "record.map",
  title: "Set and remove members",
  doc: [
    "Evaluates every expression of `set` against the record AS IT CAME IN, so the order of the members does not matter and one expression never sees what another sets; then removes the paths of `unset`.",
    "Keys of `set` are paths: `address.city` makes `address` when it is missing or null, and fails the record (record.not_an_object) when it is anything but an object. A name that holds a dot stands in backticks.",
    "A plain path (`b`, `a.b`) copies what it names exactly, also a number beyond double precision; arithmetic computes with doubles.",
    "An expression without a value (`price * quantity` where `price` is missing) removes the member: what is there afterwards is what the expressions say. Text is quoted inside the expression: `\"'NO'\"`; a bare `NO` is the member of that name.",
  ].join("\n"),
  shape: "map",
  effects: "none",
  configSchema: {
    type: "object",
    additionalProperties: false,
    minProperties: 1,
    properties: {
      set: {
        type: "object",
        minProperties: 1,
        maxProperties: 200,
        propertyNames: { type: "string", format: "member-path" },
        additionalProperties: { type: "string", format: "jsonata" },
        description: "path → JSONata expression",
      },
      unset: { type: "array", items: { type: "string", format: "member-path" }, maxItems: 200, description: "paths to remove, after `set`" },
    },
  },
  examples: readExamples("record.map", examples),
};

type Assignment = { readonly path: MemberPath; readonly value: AssignedValue };

export const recordMap: Operation = {
  description,
  compile(config) {
    const members = requireConfig(description, config);
    const assignments = textMembers(members["set"]).map(
      ([path, source]): Assignment => ({ path: parseMemberPath(path), value: compileAssignedValue(source) }),
    );
    const removals = texts(members["unset"]).map(parseMemberPath);
    return assignments.every((a) => a.value.evaluateSync !== undefined) ? syncStep(assignments, removals) : asyncStep(assignments, removals);
  },
};

function syncStep(assignments: readonly Assignment[], removals: readonly MemberPath[]): Step {
  return {
    apply(input, clock) {
      const record = requireObject(input);
      const output = { ...record };
      for (const { path, value: source } of assignments) {
        const value = source.evaluateSync?.(record, clock);
        if (value === undefined) removeMember(output, path);
        else assignMember(output, path, value);
      }
      for (const path of removals) removeMember(output, path);
      return one(output);
    },
  };
}

function asyncStep(assignments: readonly Assignment[], removals: readonly MemberPath[]): Step {
  return {
    async apply(input, clock: RecordClock) {
      const record = requireObject(input);
      const output = { ...record };
      for (const { path, value: source } of assignments) {
        const value = await source.evaluate(record, clock);
        if (value === undefined) removeMember(output, path);
        else assignMember(output, path, value);
      }
      for (const path of removals) removeMember(output, path);
      return one(output);
    },
  };
}
