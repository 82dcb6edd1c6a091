/**
 * proto3 JSON of ts-proto messages, as text.
 * Fields with `raw_json` hold JSON text: REST shows the value itself, digit for digit, and takes any JSON value there. That is why both directions work on
 * text: a number like 12345678901234567890 does not survive JSON.parse.
 * Non-duty: rules of the contract (`validate`), media types. Unknown fields and wrong types are refused, with protobuf-es' message.
 */
import {
  type DescField,
  type DescMessage,
  fromJson,
  getOption,
  hasOption,
  type JsonObject,
  type JsonValue,
  type Message,
  toJson,
} from "@bufbuild/protobuf";
import { field as fieldOption } from "../gen/es/onedata/policy/v1/policy_pb.ts";
import { readValue, type Span, type SpannedMember } from "./json-spans.ts";
import { oncePer } from "./once.ts";
import { messageOf } from "./registry.ts";
import { fromMessage, toMessage } from "./structural.ts";

export type JsonTextOptions = {
  /** One line, for NDJSON: line breaks between tokens of raw JSON become spaces. */
  readonly singleLine?: boolean;
};

/** A complete ts-proto message as JSON text; fields of default value are shown, absent messages are not. */
export function toJsonText(typeName: string, message: unknown, options: JsonTextOptions = {}): string {
  const desc = messageOf(typeName);
  return messageToJsonText(desc, toMessage(desc, message), options);
}

/** The same for a protobuf-es message. */
export function messageToJsonText(desc: DescMessage, message: Message, options: JsonTextOptions = {}): string {
  const json = toJson(desc, message, { alwaysEmitImplicit: true });
  return hasRawJson(desc) && isObject(json) ? print(desc, json, options.singleLine ?? false) : JSON.stringify(json);
}

/** JSON text as a complete ts-proto message. Throws SyntaxError for malformed JSON, Error for what the message cannot hold. */
export function fromJsonText(typeName: string, text: string): unknown {
  const desc = messageOf(typeName);
  return fromMessage(desc, messageFromJsonText(desc, text));
}

/** The same as a protobuf-es message. */
export function messageFromJsonText(desc: DescMessage, text: string): Message {
  const json: JsonValue = JSON.parse(text);
  return fromJson(desc, hasRawJson(desc) ? rewrite(desc, json, readValue(text), text) : json);
}

/** Decoding an option costs 10 us, so each field is asked once. */
export const isRawJson: (field: DescField) => boolean = oncePer((field) => hasOption(field, fieldOption) && getOption(field, fieldOption).rawJson);
/** The text is a payload, which is kept as it came. */
export const isVerbatim: (field: DescField) => boolean = oncePer((field) => hasOption(field, fieldOption) && getOption(field, fieldOption).verbatim);

const hasRawJson = oncePer((desc: DescMessage): boolean => {
  const seen = new Set<DescMessage>();
  const search = (message: DescMessage): boolean => {
    if (seen.has(message)) return false;
    seen.add(message);
    return message.fields.some((field) => isRawJson(field) || (field.message !== undefined && search(field.message)));
  };
  return search(desc);
});

function print(desc: DescMessage, json: JsonObject, singleLine: boolean): string {
  const members = desc.fields.flatMap((field) => {
    const value = json[field.jsonName];
    // An empty raw value is no JSON at all: left out, as an absent message is.
    return value === undefined || (value === "" && isRawJson(field))
      ? []
      : [`${JSON.stringify(field.jsonName)}:${printField(field, value, singleLine)}`];
  });
  return `{${members.join(",")}}`;
}

function printField(field: DescField, value: JsonValue, singleLine: boolean): string {
  const raw = isRawJson(field);
  if (Array.isArray(value)) return `[${value.map((entry) => printOne(field, entry, raw, singleLine)).join(",")}]`;
  if (field.fieldKind === "map" && isObject(value)) {
    return `{${Object.entries(value)
      .map(([key, entry]) => `${JSON.stringify(key)}:${printOne(field, entry, raw, singleLine)}`)
      .join(",")}}`;
  }
  return printOne(field, value, raw, singleLine);
}

function printOne(field: DescField, value: JsonValue, raw: boolean, singleLine: boolean): string {
  if (raw && typeof value === "string") return printRaw(value, singleLine);
  return field.message !== undefined && hasRawJson(field.message) && isObject(value)
    ? print(field.message, value, singleLine)
    : JSON.stringify(value);
}

/** Text that is not JSON is shown as a string: one bad row must not break the document around it. */
function printRaw(text: string, singleLine: boolean): string {
  try {
    JSON.parse(text);
  } catch {
    return JSON.stringify(text);
  }
  return singleLine ? text.replaceAll(/[\r\n]+/g, " ") : text;
}

/** The parsed value with every raw field replaced by the text that stood there. */
function rewrite(desc: DescMessage, json: JsonValue, span: Span, text: string): JsonValue {
  if (!isObject(json) || span.members === undefined) return json;
  const spans = new Map(span.members.map((member: SpannedMember) => [member.name, member.value]));
  return Object.fromEntries(
    Object.entries(json).map(([name, value]) => {
      const field = desc.fields.find((each) => each.jsonName === name || each.name === name);
      const at = spans.get(name);
      return [name, field === undefined || at === undefined ? value : rewriteField(field, value, at, text)];
    }),
  );
}

function rewriteField(field: DescField, value: JsonValue, span: Span, text: string): JsonValue {
  const raw = isRawJson(field);
  const { message } = field;
  if (!raw && (message === undefined || !hasRawJson(message))) return value;
  const one = (entry: JsonValue, at: Span): JsonValue =>
    raw ? text.slice(at.start, at.end) : message === undefined ? entry : rewrite(message, entry, at, text);
  if (field.fieldKind === "list")
    return Array.isArray(value) ? value.map((entry, i) => (span.items?.[i] === undefined ? entry : one(entry, span.items[i]))) : value;
  if (field.fieldKind === "map" && isObject(value)) {
    const spans = new Map((span.members ?? []).map((member) => [member.name, member.value]));
    return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, one(entry, spans.get(key) ?? span)]));
  }
  return value === null ? value : one(value, span);
}

const isObject = (json: JsonValue): json is JsonObject => typeof json === "object" && json !== null && !Array.isArray(json);
