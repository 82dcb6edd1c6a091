/**
 * Paths to members: `address.zip`, with backticks around a name that holds a dot (`` `unit.price`.value ``), as in JSONata.
 * Paths go through objects only, never into arrays: which element would be meant is the business of an expression.
 * Writes copy what they change and share the rest.
 */
import { isJsonObject, type Json, type JsonObject, OneDataError, setMember } from "@onedata/core";
import { describe } from "./outcomes.ts";

export type MemberPath = { readonly text: string; readonly names: readonly [string, ...string[]] };

const SEGMENT = /(?:`([^`]+)`|([^`.]+))(?:\.|$)/y;

/** Throws `config.invalid`. */
export function parseMemberPath(text: string): MemberPath {
  const names: string[] = [];
  SEGMENT.lastIndex = 0;
  while (SEGMENT.lastIndex < text.length) {
    const match = SEGMENT.exec(text);
    if (match === null) break;
    names.push(match[1] ?? match[2] ?? "");
    if (SEGMENT.lastIndex === text.length && !text.endsWith(".")) {
      const [first, ...rest] = names;
      if (first !== undefined) return { text, names: [first, ...rest] };
    }
  }
  throw new OneDataError(
    "config.invalid",
    `"${text}" is not a path: write names with dots between them, and backticks around a name that holds a dot`,
  );
}

export function getMember(record: Json, path: MemberPath): Json | undefined {
  let value: Json | undefined = record;
  for (const name of path.names) {
    if (!isJsonObject(value) || !Object.hasOwn(value, name)) return undefined;
    value = value[name];
  }
  return value;
}

/** A copy with the member set; absent or null parents become objects. Throws `record.not_an_object` when a parent is anything else. */
export function withMember(record: JsonObject, path: MemberPath, value: Json): JsonObject {
  const copy = { ...record };
  assignMember(copy, path, value);
  return copy;
}

/** Like `withMember`, on a record that the caller has just copied: only its inner objects are copied. */
export function assignMember(copy: JsonObject, path: MemberPath, value: Json): void {
  const { names } = path;
  let target = copy;
  for (let i = 0; i < names.length - 1; i++) {
    const name = names[i] ?? "";
    const inner = Object.hasOwn(target, name) ? target[name] : undefined;
    if (inner !== undefined && inner !== null && !isJsonObject(inner)) {
      throw new OneDataError(
        "record.not_an_object",
        `cannot set "${path.text}": "${names.slice(0, i + 1).join(".")}" is ${describe(inner)}, not an object`,
      );
    }
    const next: JsonObject = { ...inner };
    setMember(target, name, next);
    target = next;
  }
  setMember(target, names[names.length - 1] ?? "", value);
}

/** On a record that the caller has just copied; a path that is not there is fine. */
export function removeMember(copy: JsonObject, path: MemberPath): void {
  if (getMember(copy, path) === undefined) return;
  const { names } = path;
  let target = copy;
  for (let i = 0; i < names.length - 1; i++) {
    const name = names[i] ?? "";
    const inner = target[name];
    if (!isJsonObject(inner)) return;
    const next: JsonObject = { ...inner };
    setMember(target, name, next);
    target = next;
  }
  delete target[names[names.length - 1] ?? ""];
}
