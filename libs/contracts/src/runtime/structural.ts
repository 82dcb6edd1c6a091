/**
 * Turns ts-proto messages into protobuf-es messages and back, by structure.
 * Why two kinds: ts-proto has the fast codec and the plain types; protobuf-es has descriptors, proto3 JSON and protovalidate.
 * They differ in oneofs ({$case, value} against {case, value}), Timestamp (Date) and Value (plain JSON); the rest is equal, field by field.
 * Invariant: nothing is copied that need not be; scalars, bytes, scalar lists and Structs are shared between the two.
 */
import { type DescField, type DescMessage, type DescOneof, fromJson, isMessage, type JsonValue, type Message, toJson } from "@bufbuild/protobuf";
import { TimestampSchema, timestampDate, timestampFromDate, ValueSchema } from "@bufbuild/protobuf/wkt";
import { oncePer } from "./once.ts";

/** The fields of a message as code holds them. */
export type Fields = { [name: string]: unknown };

/** ts-proto → protobuf-es. `plain` is a complete message (of `decode`, `create` or `fromPartial`), not a partial one. */
export function toMessage(desc: DescMessage, plain: unknown): Message {
  const message = toMessageOf(desc)(plain);
  if (!isMessage(message)) throw new Error(`contracts: ${desc.typeName} cannot be made of ${typeof plain}`);
  return message;
}

/** protobuf-es → ts-proto. */
export const fromMessage = (desc: DescMessage, message: Message): unknown => fromMessageOf(desc)(message);

type Convert = (value: unknown) => unknown;
type ConvertField = (from: Fields, to: Fields) => void;

const same: Convert = (value) => value;

const toMessageOf = oncePer((desc: DescMessage): Convert => {
  if (desc.typeName === TimestampSchema.typeName) return (value) => (value instanceof Date ? timestampFromDate(value) : value);
  if (desc.typeName === ValueSchema.typeName) return (value) => (isJson(value) ? fromJson(ValueSchema, value) : value);
  const fields = lazily(() =>
    desc.members.map((member): ConvertField => (member.kind === "oneof" ? oneof(member, "$case", "case", toMessageOf) : field(member, toMessageOf))),
  );
  return (value) => convert(fields(), value, { $typeName: desc.typeName });
});

const fromMessageOf = oncePer((desc: DescMessage): Convert => {
  if (desc.typeName === TimestampSchema.typeName) return (value) => (isMessage(value, TimestampSchema) ? timestampDate(value) : value);
  if (desc.typeName === ValueSchema.typeName) return (value) => (isMessage(value, ValueSchema) ? toJson(ValueSchema, value) : value);
  const fields = lazily(() =>
    desc.members.map(
      (member): ConvertField => (member.kind === "oneof" ? oneof(member, "case", "$case", fromMessageOf) : field(member, fromMessageOf)),
    ),
  );
  return (value) => convert(fields(), value, {});
});

function convert(fields: readonly ConvertField[], from: unknown, to: Fields): Fields {
  if (!isFields(from)) return to;
  for (const each of fields) each(from, to);
  return to;
}

function field(desc: DescField, of: (desc: DescMessage) => Convert): ConvertField {
  const name = desc.localName;
  const value = valueOf(desc, of);
  return (from, to) => {
    if (from[name] !== undefined) to[name] = value(from[name]);
  };
}

function valueOf(desc: DescField, of: (desc: DescMessage) => Convert): Convert {
  if (desc.message === undefined || STRUCT === desc.message.typeName) return same;
  const one = of(desc.message);
  if (desc.fieldKind === "list") return (value) => (Array.isArray(value) ? value.map(one) : value);
  if (desc.fieldKind === "map")
    return (value) => (isFields(value) ? Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, one(entry)])) : value);
  return one;
}

function oneof(desc: DescOneof, fromCase: string, toCase: string, of: (desc: DescMessage) => Convert): ConvertField {
  const cases = new Map(desc.fields.map((member) => [member.localName, valueOf(member, of)]));
  const empty = toCase === "case" ? { case: undefined } : undefined;
  return (from, to) => {
    const chosen = from[desc.localName];
    const name = isFields(chosen) ? chosen[fromCase] : undefined;
    const value = typeof name === "string" ? cases.get(name) : undefined;
    to[desc.localName] = isFields(chosen) && value !== undefined ? { [toCase]: name, value: value(chosen["value"]) } : empty;
  };
}

/** A Struct as a field is plain JSON on both sides. */
const STRUCT = "google.protobuf.Struct";

/** Breaks the cycle of messages that contain themselves. */
function lazily<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}

const isFields = (value: unknown): value is Fields => typeof value === "object" && value !== null;

/** ts-proto types a Value as anything; what is not JSON is refused by protobuf-es, with its path. */
const isJson = (value: unknown): value is JsonValue => value !== undefined;
