/**
 * Messages of the contract as JSON Schema 2020-12, by name.
 * Requests and answers differ: a request needs what its rules demand and refuses what it does not know; an answer has every field without presence, and may
 * grow. A message that is both has two schemas, the request's with the suffix `Input`.
 */
import { type DescEnum, type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { commentOf, isRawJson } from "@onedata/contracts";
import { type Schema, schemaRef } from "./document.ts";
import { rulesOf } from "./rules.ts";

/** `sparse`: an answer that leaves out what is empty; its schema is `…Summary` where the message is also answered whole. */
export type Direction = "input" | "output" | "sparse";

export type Schemas = {
  /** A reference; the schema is added on first use, without the fields that the path fills. */
  refTo(message: DescMessage, direction: Direction, without?: readonly string[]): Schema;
  fieldSchema(field: DescField, direction: Direction): Schema;
  /** All that were asked for, by name. */
  readonly components: () => Readonly<Record<string, Schema>>;
};

/** `messages`: all that the document may show, so that doubled names can be told apart. */
export function createSchemas(
  messages: {
    readonly inputs: ReadonlySet<DescMessage>;
    readonly outputs: ReadonlySet<DescMessage>;
    /** Those among the outputs that are only ever sparse. */
    readonly sparse: ReadonlySet<DescMessage>;
  },
  reserved: readonly string[],
): Schemas {
  const all = new Set([...messages.inputs, ...messages.outputs]);
  const components = new Map<string, Schema>();

  const nameOf = (message: DescMessage, direction: Direction): string => {
    const taken = reserved.includes(message.name) || [...all].some((other) => other !== message && other.name === message.name);
    const name = taken ? `${capitalize(message.typeName.split(".")[1] ?? "")}${message.name}` : message.name;
    if (direction === "sparse" && !messages.sparse.has(message)) return `${name}Summary`;
    return direction === "input" && messages.outputs.has(message) ? `${name}Input` : name;
  };

  const refTo = (message: DescMessage, direction: Direction, without: readonly string[] = []): Schema => {
    const name = nameOf(message, direction);
    if (!components.has(name)) {
      components.set(name, {});
      components.set(
        name,
        objectSchema(
          message,
          direction,
          message.fields.filter((field) => !without.includes(field.name)),
        ),
      );
    }
    return schemaRef(name);
  };

  function objectSchema(message: DescMessage, direction: Direction, fields: readonly DescField[]): Schema {
    const required = fields.filter((field) => isRequired(field, direction)).map(({ jsonName }) => jsonName);
    return {
      type: "object",
      ...describe(message.typeName),
      ...(required.length > 0 ? { required } : {}),
      properties: Object.fromEntries(fields.map((field) => [field.jsonName, fieldSchema(field, direction === "sparse" ? "output" : direction)])),
      ...(direction === "input" ? { additionalProperties: false } : {}),
    };
  }

  function fieldSchema(field: DescField, direction: Direction): Schema {
    const keywords = direction === "input" ? rulesOf(field).keywords : {};
    const described = { ...describe(`${field.parent.typeName}.${field.name}`) };
    if (isRawJson(field) && field.fieldKind === "scalar") return { ...described, title: "any JSON value" };
    const schema = typeSchema(field, direction);
    // Beside $ref, 3.1 allows a description of the place.
    return { ...described, ...schema, ...keywords };
  }

  function typeSchema(field: DescField, direction: Direction): Schema {
    switch (field.fieldKind) {
      case "scalar":
        return scalarSchema(field.scalar);
      case "enum":
        return enumSchema(field.enum);
      case "message":
        return messageSchema(field.message, direction);
      case "list": {
        const items =
          field.listKind === "scalar"
            ? isRawJson(field)
              ? {}
              : scalarSchema(field.scalar)
            : field.listKind === "enum"
              ? enumSchema(field.enum)
              : messageSchema(field.message, direction);
        return { type: "array", items };
      }
      case "map": {
        const values =
          field.mapKind === "scalar"
            ? scalarSchema(field.scalar)
            : field.mapKind === "enum"
              ? enumSchema(field.enum)
              : messageSchema(field.message, direction);
        return { type: "object", additionalProperties: values };
      }
    }
  }

  const messageSchema = (message: DescMessage, direction: Direction): Schema => WELL_KNOWN[message.typeName] ?? refTo(message, direction);

  return { refTo, fieldSchema, components: () => Object.fromEntries([...components].sort(([a], [b]) => (a < b ? -1 : 1))) };
}

function isRequired(field: DescField, direction: Direction): boolean {
  if (direction === "input") return rulesOf(field).required;
  if (direction === "sparse") return field.name === "id";
  if (field.fieldKind === "list" || field.fieldKind === "map") return true;
  return field.fieldKind !== "message" && field.oneof === undefined && !field.proto.proto3Optional;
}

const WELL_KNOWN: Readonly<Record<string, Schema>> = {
  "google.protobuf.Timestamp": { type: "string", format: "date-time" },
  "google.protobuf.Duration": { type: "string", pattern: "^-?\\d+(\\.\\d{1,9})?s$" },
  "google.protobuf.Struct": { type: "object", additionalProperties: true },
  "google.protobuf.ListValue": { type: "array", items: {} },
  "google.protobuf.Value": {},
  "google.protobuf.FieldMask": { type: "string" },
};

function scalarSchema(scalar: ScalarType): Schema {
  switch (scalar) {
    case ScalarType.STRING:
      return { type: "string" };
    case ScalarType.BOOL:
      return { type: "boolean" };
    case ScalarType.BYTES:
      return { type: "string", contentEncoding: "base64" };
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return { type: "number" };
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return { type: "integer", minimum: 0, maximum: 4_294_967_295 };
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return { type: "integer", format: "int32" };
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return { type: "string", pattern: "^\\d{1,20}$" };
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return { type: "string", pattern: "^-?\\d{1,19}$" };
  }
}

const enumSchema = (desc: DescEnum): Schema => ({ type: "string", enum: desc.values.map(({ name }) => name) });

export function describe(fullName: string): { readonly description?: string } {
  const comment = commentOf(fullName);
  return comment === "" ? {} : { description: comment };
}

/** Every message that a message can hold, itself included; well-known types are not ours to name. */
export function reachable(from: Iterable<DescMessage>): Set<DescMessage> {
  const found = new Set<DescMessage>();
  const visit = (message: DescMessage): void => {
    if (found.has(message) || message.typeName.startsWith("google.protobuf.")) return;
    found.add(message);
    for (const field of message.fields) if (field.message !== undefined) visit(field.message);
  };
  for (const message of from) visit(message);
  return found;
}

const capitalize = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
