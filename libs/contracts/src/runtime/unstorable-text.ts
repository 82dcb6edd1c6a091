/**
 * Finds text in a request that the database could not keep as it was sent: U+0000, which Postgres has no place for, and halves of surrogate pairs, which
 * UTF-8 has not. Payloads and raw JSON are left to whoever reads them.
 */
import { type DescMessage, type JsonValue, type Message, ScalarType, toJson } from "@bufbuild/protobuf";
import { isReflectMessage, type ReflectMessage, reflect } from "@bufbuild/protobuf/reflect";
import { isRawJson, isVerbatim } from "./json.ts";
import type { ContractViolation } from "./violation.ts";

type Path = readonly (string | number)[];

/** In the order of the fields, with pointers of JSON names. */
export function findUnstorableText(desc: DescMessage, message: Message): ContractViolation[] {
  const found: ContractViolation[] = [];
  searchMessage(reflect(desc, message), [], found);
  return found;
}

/** What keeps a text from being stored, and what to do; undefined if nothing does. */
export function textProblem(text: string): { readonly code: string; readonly detail: string } | undefined {
  if (text.includes("\0")) return { code: "no_nul", detail: "holds U+0000, which cannot be stored: leave it out" };
  // With this flag a whole pair is one character, so that only halves are surrogates.
  if (/\p{Surrogate}/u.test(text))
    return { code: "well_formed", detail: "holds half of a surrogate pair (U+D800 to U+DFFF), which UTF-8 has not: send whole characters" };
  return undefined;
}

function searchMessage(message: ReflectMessage, path: Path, found: ContractViolation[]): void {
  if (message.desc.typeName.startsWith("google.protobuf.")) {
    if (JSON_TYPES.includes(message.desc.name)) findUnstorableJson(toJson(message.desc, message.message), path, found);
    return;
  }
  for (const field of message.fields) {
    if (isVerbatim(field) || isRawJson(field) || !message.isSet(field)) continue;
    const at = [...path, field.jsonName];
    switch (field.fieldKind) {
      case "scalar":
        if (field.scalar === ScalarType.STRING) searchOne(message.get(field), at, found);
        break;
      case "message":
        searchOne(message.get(field), at, found);
        break;
      case "list":
        if (field.listKind === "message" || field.scalar === ScalarType.STRING)
          for (const [i, item] of message.get(field).entries()) searchOne(item, [...at, i], found);
        break;
      case "map":
        for (const [key, item] of message.get(field)) {
          searchOne(key, [...at, String(key)], found);
          if (field.mapKind !== "enum") searchOne(item, [...at, String(key)], found);
        }
        break;
      case "enum":
        break;
    }
  }
}

function searchOne(value: unknown, path: Path, found: ContractViolation[]): void {
  if (isReflectMessage(value)) searchMessage(value, path, found);
  else if (typeof value === "string") findUnstorableJson(value, path, found);
}

/** Those that hold any JSON. */
const JSON_TYPES = ["Struct", "Value", "ListValue"];

/** The same within any JSON, before it is a message: protobuf's own reader refuses halves of pairs without saying where. */
export function findUnstorableJson(value: JsonValue, path: Path, found: ContractViolation[]): void {
  if (typeof value === "string") {
    const problem = textProblem(value);
    if (problem !== undefined) found.push({ pointer: toPointer(path), ...problem });
  } else if (Array.isArray(value)) {
    for (const [i, item] of value.entries()) findUnstorableJson(item, [...path, i], found);
  } else if (typeof value === "object" && value !== null) {
    for (const [name, item] of Object.entries(value)) {
      findUnstorableJson(name, [...path, name], found);
      findUnstorableJson(item, [...path, name], found);
    }
  }
}

const toPointer = (path: Path): string => path.map((part) => `/${String(part).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
