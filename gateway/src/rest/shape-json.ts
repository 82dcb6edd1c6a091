/**
 * Holds JSON against a message of the contract, strictly, before `fromJson` reads it.
 * Duty: every unknown member ("did you mean"), every wrong type, every text that cannot be stored, all at once, each with its JSON Pointer; exact numbers become what the field can hold.
 * Non-duty: rules (`buf.validate`), which need the finished message.
 * Why not the errors of `fromJson` alone: it stops at the first one and does not say where.
 * Proto3 JSON as is: camelCase or proto names, 64-bit integers as text or number, null = not given, enums by name.
 */

import {
  type DescEnum,
  type DescField,
  type DescMessage,
  fromJson,
  type JsonValue,
  type JsonObject as PlainObject,
  ScalarType,
} from "@bufbuild/protobuf";
import { base64Decode } from "@bufbuild/protobuf/wire";
import { findUnstorableJson, isRawJson } from "@onedata/contracts";
import { didYouMean, ExactNumber, isJsonObject, type Json, type JsonObject, toPointer, type Violation } from "@onedata/core";
import { stringifyJson } from "@onedata/formats";

type Path = readonly (string | number)[];

/** What it could not read is left out of the answer and said in `violations`. */
export function shapeJson(desc: DescMessage, json: JsonObject, violations: Violation[], path: Path = []): PlainObject {
  const shaped: PlainObject = {};
  for (const [name, value] of Object.entries(json)) {
    const field = fieldNamed(desc, name);
    const at = [...path, name];
    if (field === undefined) {
      violations.push({
        pointer: toPointer(at),
        code: "unknown",
        detail: `unknown field ${JSON.stringify(name)}${didYouMean(
          name,
          desc.fields.map((known) => known.jsonName),
        )}`,
      });
    } else if (Object.hasOwn(shaped, field.jsonName)) {
      violations.push({
        pointer: toPointer(at),
        code: "duplicate",
        detail: `${field.jsonName} is given twice, as ${field.jsonName} and as ${field.name}: keep one`,
      });
    } else {
      const read = shapeField(field, value, violations, at);
      if (read !== undefined) shaped[field.jsonName] = read;
    }
  }
  return shaped;
}

export function fieldNamed(desc: DescMessage, name: string): DescField | undefined {
  return desc.fields.find((field) => field.jsonName === name || field.name === name);
}

function shapeField(field: DescField, value: Json, violations: Violation[], path: Path): JsonValue | undefined {
  if (isRawJson(field) && field.fieldKind === "scalar") return stringifyJson(value);
  if (value === null && !(field.fieldKind === "message" && field.message.typeName === "google.protobuf.Value")) return undefined;
  switch (field.fieldKind) {
    case "scalar":
      return shapeScalar(field.scalar, value, violations, path);
    case "enum":
      return shapeEnum(field.enum, value, violations, path);
    case "message":
      return shapeMessage(field.message, value, violations, path);
    case "list": {
      if (!Array.isArray(value)) return wrong(violations, path, "an array", value);
      return value.flatMap((item, i): JsonValue[] => {
        const read = isRawJson(field) ? stringifyJson(item) : shapeItem(field, item, violations, [...path, i]);
        return read === undefined ? [] : [read];
      });
    }
    case "map": {
      if (!isJsonObject(value)) return wrong(violations, path, "an object", value);
      const entries: PlainObject = {};
      for (const [key, item] of Object.entries(value)) {
        const at = [...path, key];
        if (storable(key, violations, at) === undefined) continue;
        const read = shapeItem(field, item, violations, at);
        if (read !== undefined) define(entries, key, read);
      }
      return entries;
    }
  }
}

/** An element of a list or a value of a map. */
function shapeItem({ scalar, enum: names, message }: DescField, item: Json, violations: Violation[], path: Path): JsonValue | undefined {
  if (message !== undefined) return shapeMessage(message, item, violations, path);
  return names === undefined ? shapeScalar(scalar ?? ScalarType.STRING, item, violations, path) : shapeEnum(names, item, violations, path);
}

function shapeMessage(desc: DescMessage, value: Json, violations: Violation[], path: Path): JsonValue | undefined {
  if (!desc.typeName.startsWith("google.protobuf.")) {
    return isJsonObject(value) ? shapeJson(desc, value, violations, path) : wrong(violations, path, "an object", value);
  }
  const plain = toPlain(value);
  if (storable(plain, violations, path) === undefined) return undefined;
  try {
    fromJson(desc, plain);
    return plain;
  } catch {
    return wrong(violations, path, WELL_KNOWN[desc.name] ?? desc.name, value);
  }
}

const WELL_KNOWN: Readonly<Record<string, string>> = {
  Timestamp: "a time as in RFC 3339, e.g. 2026-01-31T12:00:00Z",
  Duration: 'seconds with an s, e.g. "1.5s"',
  Struct: "an object",
  ListValue: "an array",
  FieldMask: 'field names with commas between, e.g. "name,limits"',
};

function shapeEnum(desc: DescEnum, value: Json, violations: Violation[], path: Path): JsonValue | undefined {
  const names = desc.values.map(({ name }) => name);
  if (typeof value === "string" && names.includes(value)) return value;
  if (typeof value === "number" && desc.values.some(({ number }) => number === value)) return value;
  const hint = typeof value === "string" ? didYouMean(value, names) : "";
  violations.push({ pointer: toPointer(path), code: "type", detail: `must be one of ${names.join(", ")}; got ${show(value)}${hint}` });
  return undefined;
}

function shapeScalar(type: ScalarType, value: Json, violations: Violation[], path: Path): JsonValue | undefined {
  switch (type) {
    case ScalarType.STRING:
      if (typeof value === "string") return storable(value, violations, path);
      return wrong(violations, path, "a string", value);
    case ScalarType.BOOL:
      return typeof value === "boolean" ? value : wrong(violations, path, "true or false", value);
    case ScalarType.BYTES:
      return typeof value === "string" && isBase64(value) ? value : wrong(violations, path, "base64 text", value);
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT: {
      const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value instanceof ExactNumber ? value.toDouble() : value;
      return typeof number === "number" && Number.isFinite(number) ? number : wrong(violations, path, "a number", value);
    }
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return shapeInteger(value, -(2n ** 31n), 2n ** 31n - 1n, Number, violations, path);
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return shapeInteger(value, 0n, 2n ** 32n - 1n, Number, violations, path);
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return shapeInteger(value, -(2n ** 63n), 2n ** 63n - 1n, String, violations, path);
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return shapeInteger(value, 0n, 2n ** 64n - 1n, String, violations, path);
  }
}

function storable<T extends JsonValue>(value: T, violations: Violation[], path: Path): T | undefined {
  const before = violations.length;
  findUnstorableJson(value, path, violations);
  return violations.length === before ? value : undefined;
}

function isBase64(text: string): boolean {
  try {
    base64Decode(text);
    return true;
  } catch {
    return false;
  }
}

function shapeInteger(
  value: Json,
  min: bigint,
  max: bigint,
  to: (integer: bigint) => JsonValue,
  violations: Violation[],
  path: Path,
): JsonValue | undefined {
  const text =
    typeof value === "string"
      ? value
      : value instanceof ExactNumber
        ? value.text
        : typeof value === "number" && Number.isSafeInteger(value)
          ? String(value)
          : "";
  const integer = /^-?\d{1,20}$/.test(text) ? BigInt(text) : undefined;
  if (integer === undefined || integer < min || integer > max) return wrong(violations, path, `an integer from ${min} to ${max}`, value);
  return to(integer);
}

function wrong(violations: Violation[], path: Path, expected: string, value: Json): undefined {
  violations.push({ pointer: toPointer(path), code: "type", detail: `must be ${expected}; got ${show(value)}` });
  return undefined;
}

function show(value: Json): string {
  const text = stringifyJson(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** For Struct and Value, which hold doubles. */
function toPlain(value: Json): JsonValue {
  if (value instanceof ExactNumber) return value.toDouble();
  if (Array.isArray(value)) return value.map(toPlain);
  if (!isJsonObject(value)) return value;
  const plain: PlainObject = {};
  for (const [key, item] of Object.entries(value)) define(plain, key, toPlain(item));
  return plain;
}

/** Plain assignment to `__proto__` would change the prototype. */
function define(target: PlainObject, key: string, value: JsonValue): void {
  if (key === "__proto__") Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
  else target[key] = value;
}
