/**
 * A tRPC input as a complete message, or every violation at once.
 * Why: ts-proto's `fromPartial` fills in what is missing but takes any value as it is, and drops what it does not know. Types of callers are no proof.
 */
import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { ScalarType } from "@bufbuild/protobuf";
import { messageOf, validate } from "@onedata/contracts";
import { didYouMean, OneDataError, toPointer, type Violation } from "@onedata/core";
import type { MethodDefinition } from "@onedata/mesh";

type Path = readonly (string | number)[];

/** Throws `request.invalid`. */
export function readInput(codec: MethodDefinition["requestType"], input: unknown): unknown {
  const desc = messageOf(codec.$type);
  const violations: Violation[] = [];
  checkMessage(desc, input ?? {}, violations, []);
  refuse(violations);
  const message = codec.fromPartial(input ?? {});
  refuse(validate(codec.$type, message));
  return message;
}

function refuse(violations: readonly Violation[]): void {
  const [first, ...others] = violations;
  if (first === undefined) return;
  throw new OneDataError("request.invalid", `${first.pointer} ${first.detail}${others.length > 0 ? ` (and ${others.length} more)` : ""}`.trim(), {
    violations,
  });
}

function checkMessage(desc: DescMessage, value: unknown, violations: Violation[], path: Path): void {
  if (!isRecord(value)) return wrong(violations, path, "an object", value);
  const names = desc.members.map((member) => member.localName);
  for (const [name, item] of Object.entries(value)) {
    const member = desc.members.find((known) => known.localName === name);
    const at = [...path, name];
    if (member === undefined)
      violations.push({ pointer: toPointer(at), code: "unknown", detail: `unknown field ${JSON.stringify(name)}${didYouMean(name, names)}` });
    else if (item === undefined) continue;
    else if (member.kind === "field") checkField(member, item, violations, at);
    else checkOneof(member.fields, item, violations, at);
  }
}

function checkOneof(fields: readonly DescField[], value: unknown, violations: Violation[], path: Path): void {
  const field = isRecord(value) ? fields.find((known) => known.localName === value["$case"]) : undefined;
  if (field === undefined || !isRecord(value))
    return wrong(violations, path, `{ $case, value } with one of ${fields.map(({ localName }) => localName).join(", ")}`, value);
  checkField(field, value["value"], violations, [...path, "value"]);
}

function checkField(field: DescField, value: unknown, violations: Violation[], path: Path): void {
  if (field.fieldKind === "list") {
    if (!Array.isArray(value)) return wrong(violations, path, "an array", value);
    value.forEach((item: unknown, i) => checkOne(field.message, field.scalar, item, violations, [...path, i]));
  } else if (field.fieldKind === "map") {
    if (!isRecord(value)) return wrong(violations, path, "an object", value);
    for (const [key, item] of Object.entries(value)) checkOne(field.message, field.scalar, item, violations, [...path, key]);
  } else checkOne(field.message, field.scalar, value, violations, path);
}

function checkOne(message: DescMessage | undefined, scalar: ScalarType | undefined, value: unknown, violations: Violation[], path: Path): void {
  if (message === undefined) {
    const [expected, fits] = expectation(scalar);
    if (!fits(value)) wrong(violations, path, expected, value);
    return;
  }
  switch (message.typeName) {
    case "google.protobuf.Timestamp":
      if (!(value instanceof Date) || Number.isNaN(value.getTime())) wrong(violations, path, "a Date", value);
      return;
    case "google.protobuf.Struct":
      if (!isRecord(value)) wrong(violations, path, "an object", value);
      return;
    case "google.protobuf.ListValue":
      if (!Array.isArray(value)) wrong(violations, path, "an array", value);
      return;
    case "google.protobuf.Value":
      return;
    default:
      checkMessage(message, value, violations, path);
  }
}

function expectation(scalar: ScalarType | undefined): [expected: string, fits: (value: unknown) => boolean] {
  switch (scalar) {
    case ScalarType.STRING:
      return ["a string", (value) => typeof value === "string"];
    case ScalarType.BOOL:
      return ["true or false", (value) => typeof value === "boolean"];
    case ScalarType.BYTES:
      return ["a Uint8Array", (value) => value instanceof Uint8Array];
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return ["a number", (value) => typeof value === "number"];
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return ["an integer from 0 to 4294967295", (value) => isInteger(value, 0, 2 ** 32 - 1)];
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return ["a bigint", (value) => isLong(value, -(2n ** 63n), 2n ** 63n - 1n)];
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return ["a bigint, not negative", (value) => isLong(value, 0n, 2n ** 64n - 1n)];
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
    case undefined:
      // Enums are their numbers.
      return ["an integer from -2147483648 to 2147483647", (value) => isInteger(value, -(2 ** 31), 2 ** 31 - 1)];
  }
}

const isInteger = (value: unknown, min: number, max: number): boolean =>
  typeof value === "number" && Number.isInteger(value) && value >= min && value <= max;

function isLong(value: unknown, min: bigint, max: bigint): boolean {
  if (typeof value === "string" ? !/^-?\d{1,20}$/.test(value) : typeof value === "number" ? !Number.isSafeInteger(value) : typeof value !== "bigint")
    return false;
  const long = BigInt(value as string | number | bigint); // the line above has left these three
  return long >= min && long <= max;
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date) && !(value instanceof Uint8Array);

function wrong(violations: Violation[], path: Path, expected: string, value: unknown): void {
  const got =
    value instanceof Uint8Array
      ? "bytes"
      : value instanceof Date
        ? "a Date"
        : Array.isArray(value)
          ? "an array"
          : value === null
            ? "null"
            : typeof value === "string"
              ? "a string"
              : typeof value;
  violations.push({ pointer: toPointer(path), code: "type", detail: `must be ${expected}; got ${got}` });
}
