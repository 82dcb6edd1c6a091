/** Rules of the contract (`buf.validate`) as JSON Schema keywords, and whether a field must be given. */
import { type DescField, getOption, hasOption, type JsonObject, type JsonValue, toJson } from "@bufbuild/protobuf";
import { readRegistry } from "@onedata/contracts";
import type { Schema } from "./document.ts";

export type FieldRules = { readonly keywords: Schema; readonly required: boolean };

const NONE: FieldRules = { keywords: {}, required: false };

export function rulesOf(field: DescField): FieldRules {
  const extension = readRegistry().getExtension("buf.validate.field");
  if (extension?.fieldKind !== "message" || !hasOption(field, extension)) return NONE;
  // The option of a message extension is a message.
  const rules = toJson(extension.message, getOption(field, extension) as Parameters<typeof toJson>[1]);
  if (!isObject(rules)) return NONE;
  const kind = ["string", "bytes", "repeated", "map", ...NUMBERS].find((name) => isObject(rules[name]));
  const typed = kind === undefined ? {} : rules[kind];
  const keywords = isObject(typed) ? keywordsOf(kind ?? "", typed) : {};
  return { keywords, required: rules["required"] === true || refusesDefault(keywords, field) };
}

const NUMBERS = ["float", "double", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32", "sfixed64"];

function keywordsOf(kind: string, rules: JsonObject): Schema {
  const found: Record<string, unknown> = {};
  const take = (from: string, to: string, as: (value: JsonValue) => unknown = (value) => value): void => {
    const value = rules[from];
    if (value !== undefined) found[to] = as(value);
  };
  if (kind === "string") {
    take("pattern", "pattern");
    take("minLen", "minLength", Number);
    take("maxLen", "maxLength", Number);
    take("in", "enum");
    take("const", "const");
    for (const format of ["email", "uri", "uuid", "hostname"]) if (rules[format] === true) found["format"] = format;
  } else if (kind === "repeated") {
    take("minItems", "minItems", Number);
    take("maxItems", "maxItems", Number);
    take("unique", "uniqueItems");
  } else if (kind === "map") {
    take("minPairs", "minProperties", Number);
    take("maxPairs", "maxProperties", Number);
  } else if (NUMBERS.includes(kind)) {
    take("gte", "minimum", Number);
    take("lte", "maximum", Number);
    take("gt", "exclusiveMinimum", Number);
    take("lt", "exclusiveMaximum", Number);
    take("in", "enum");
  }
  // Of bytes only the length has rules here, and base64 is longer than what it stands for.
  return found;
}

/** A field without presence is checked as its default when it is left out: if that breaks a rule, it must be given. */
function refusesDefault(keywords: Schema, field: DescField): boolean {
  const at = (name: string): number => (typeof keywords[name] === "number" ? keywords[name] : 0);
  if (field.fieldKind === "list" || field.fieldKind === "map") return at("minItems") > 0 || at("minProperties") > 0;
  if (field.proto.proto3Optional) return false;
  const { pattern } = keywords;
  if (typeof pattern === "string" && !new RegExp(pattern, "u").test("")) return true;
  return (
    at("minLength") > 0 || at("minimum") > 0 || (Array.isArray(keywords["enum"]) && !keywords["enum"].includes("") && !keywords["enum"].includes(0))
  );
}

const isObject = (value: JsonValue | undefined): value is JsonObject => typeof value === "object" && value !== null && !Array.isArray(value);
