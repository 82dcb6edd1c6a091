/**
 * The border between records and the language.
 * In: an `ExactNumber` becomes its double, only in members that the expression reads, and only in the rare record that has one.
 * Out: a result is plain JSON. The language's own arrays carry flags (`sequence`, a guarded `push`) that would change what a later expression
 * sees, its objects may be functions, and its numbers may be Infinity or NaN.
 */
import { ExactNumber, isJsonObject, type Json, type JsonObject, setMember } from "@onedata/core";
import { JsonataFailure } from "./failure.ts";

/** The record with plain doubles in `paths`, or in all members when `paths` is undefined; the record itself when it holds none. */
export function withDoubles(record: Json, paths: readonly string[] | undefined): Json {
  if (!isJsonObject(record) || paths === undefined) return hasExact(record) ? toDoubles(record) : record;
  let copy: JsonObject | undefined;
  for (const member of paths) {
    const value = record[member];
    // Most members are scalars: this line is what the hot loop pays.
    if (typeof value !== "object" || value === null || !Object.hasOwn(record, member) || !hasExact(value)) continue;
    copy ??= copyOf(record);
    setMember(copy, member, toDoubles(value));
  }
  return copy ?? record;
}

function hasExact(value: Json): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (value instanceof ExactNumber) return true;
  if (Array.isArray(value)) {
    for (const item of value) if (typeof item === "object" && hasExact(item)) return true;
    return false;
  }
  for (const member in value) {
    const inner = value[member];
    if (typeof inner === "object" && hasExact(inner)) return true;
  }
  return false;
}

function toDoubles(value: Json): Json {
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof ExactNumber) return value.toDouble();
  if (Array.isArray(value)) return value.map(toDoubles);
  const copy: JsonObject = {};
  for (const [member, inner] of Object.entries(value)) setMember(copy, member, toDoubles(inner));
  return copy;
}

function copyOf(record: JsonObject): JsonObject {
  const copy: JsonObject = {};
  for (const [member, value] of Object.entries(record)) setMember(copy, member, value);
  return copy;
}

/**
 * Values may share parts, and a small expression can share them so often that the tree which JSON makes of it never ends:
 * `($a := [[1], [1]]; $b := [[$a], [$a]]; ...)`. So the tree is counted.
 */
type Left = { nodes: number };
const maxNodes = 2_000_000;

/** @throws JsonataFailure `D1001` for Infinity and NaN, `D2015` for a result without end, `result` for a function. */
export function toJson(value: unknown, left: Left = { nodes: maxNodes }): Json | undefined {
  switch (typeof value) {
    case "string":
      left.nodes -= value.length >> 6;
      return value;
    case "boolean":
    case "undefined":
      return value;
    case "number":
      if (!Number.isFinite(value)) throw new JsonataFailure("D1001", { value });
      return value;
    case "object":
      if (value === null) return null;
      if (value instanceof ExactNumber) return value;
      return Array.isArray(value) ? arrayToJson(value, left) : objectToJson(value, left);
    case "function":
    case "symbol":
    case "bigint":
      throw aFunction();
  }
}

function arrayToJson(values: readonly unknown[], left: Left): Json {
  // A top-level array of the record arrives inside a wrapper when an expression answers its whole input.
  if ("outerWrapper" in values) return toJson(values[0], left) ?? null;
  count(values.length, left);
  const copy: Json[] = [];
  for (const item of values) copy.push(toJson(item, left) ?? null);
  return copy;
}

function objectToJson(value: object, left: Left): JsonObject {
  if (isFunctionOfPackage(value)) throw aFunction();
  const copy: JsonObject = {};
  const members = Object.entries(value);
  count(members.length, left);
  for (const [member, inner] of members) {
    const json = toJson(inner, left);
    if (json !== undefined) setMember(copy, member, json);
  }
  return copy;
}

function count(nodes: number, left: Left): void {
  left.nodes -= 1 + nodes;
  if (left.nodes < 0) throw new JsonataFailure("D2015", { value: maxNodes, message: "the result is too large" });
}

/** The package marks its functions by a member that a record may have as well; a record has no functions in it. */
function isFunctionOfPackage(value: object): boolean {
  if (!("_jsonata_function" in value || "_jsonata_lambda" in value)) return false;
  return ("implementation" in value && typeof value.implementation === "function") || ("apply" in value && typeof value.apply === "function");
}

const aFunction = (): JsonataFailure => new JsonataFailure("result", { message: "the result is a function, not a value; call it" });
