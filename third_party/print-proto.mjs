/**
 * Prints a proto2 file descriptor as .proto text. Duty: what `buf/validate/validate.proto` uses (messages, oneofs, enums, extensions, reserved names and
 * ranges, `predefined` field options). Non-duty: comments, services, maps, nested types, defaults: a descriptor that has them is refused, not printed wrongly.
 * That the text means the same as the descriptor is proved by `libs/contracts/src/vendor.test.ts`, which compiles it and compares.
 */
const TYPES = ["", "double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "group", "", "bytes", "uint32", "enum", "sfixed32", "sfixed64", "sint32", "sint64"];
const MAX_FIELD = 536870912;

/** @param proto FileDescriptorProto  @param {(field: object) => readonly object[]} predefinedOf decoded `predefined` rules of a field */
export function printProto(proto, predefinedOf) {
  if (!["", "proto2"].includes(proto.syntax) || proto.service.length > 0) throw new Error(`${proto.name}: only proto2 files without services can be printed`);
  const out = ['syntax = "proto2";', "", `package ${proto.package};`, "", ...proto.dependency.map((path) => `import "${path}";`), ""];
  for (const [key, value] of Object.entries(proto.options ?? {})) {
    if (key.startsWith("$") || Array.isArray(value)) continue;
    out.push(`option ${key.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)} = ${typeof value === "string" ? quote(value) : String(value)};`);
  }
  for (const extendee of new Set(proto.extension.map((field) => field.extendee))) {
    out.push("", `extend ${typeName(extendee)} {`, ...proto.extension.filter((field) => field.extendee === extendee).map((field) => printField(field, predefinedOf, "  ")), "}");
  }
  for (const message of proto.messageType) out.push("", ...printMessage(message, predefinedOf));
  for (const enumeration of proto.enumType) out.push("", ...printEnum(enumeration));
  return `${out.join("\n")}\n`;
}

function printMessage(message, predefinedOf) {
  if (message.nestedType.length + message.enumType.length + message.extension.length > 0 || message.options) throw new Error(`${message.name}: nested types and options cannot be printed`);
  const lines = [`message ${message.name} {`];
  const printed = new Set();
  for (const field of message.field) {
    if (field.oneofIndex === undefined || !Object.hasOwn(field, "oneofIndex")) {
      lines.push(printField(field, predefinedOf, "  "));
    } else if (!printed.has(field.oneofIndex)) {
      printed.add(field.oneofIndex);
      lines.push(`  oneof ${message.oneofDecl[field.oneofIndex].name} {`);
      for (const member of message.field.filter((other) => Object.hasOwn(other, "oneofIndex") && other.oneofIndex === field.oneofIndex)) lines.push(printField(member, predefinedOf, "    ", true));
      lines.push("  }");
    }
  }
  for (const { start, end } of message.extensionRange) lines.push(`  extensions ${start} to ${end >= MAX_FIELD ? "max" : end - 1};`);
  if (message.reservedRange.length > 0) lines.push(`  reserved ${message.reservedRange.map(({ start, end }) => (end - 1 === start ? start : `${start} to ${end - 1}`)).join(", ")};`);
  if (message.reservedName.length > 0) lines.push(`  reserved ${message.reservedName.map(quote).join(", ")};`);
  return [...lines, "}"];
}

function printEnum(enumeration) {
  const lines = [`enum ${enumeration.name} {`, ...enumeration.value.map((value) => `  ${value.name} = ${value.number};`)];
  if (enumeration.reservedRange.length > 0) lines.push(`  reserved ${enumeration.reservedRange.map(({ start, end }) => (end === start ? start : `${start} to ${end}`)).join(", ")};`);
  if (enumeration.reservedName.length > 0) lines.push(`  reserved ${enumeration.reservedName.map(quote).join(", ")};`);
  return [...lines, "}"];
}

function printField(field, predefinedOf, indent, inOneof = false) {
  if (Object.hasOwn(field, "defaultValue") && field.defaultValue !== "") throw new Error(`${field.name}: defaults cannot be printed`);
  const label = inOneof ? "" : { 1: "optional ", 2: "required ", 3: "repeated " }[field.label];
  const type = field.type === 11 || field.type === 14 ? typeName(field.typeName) : TYPES[field.type];
  const rules = predefinedOf(field).map((rule) => {
    const members = [`id: ${quote(rule.id)}`, ...(rule.message === "" ? [] : [`message: ${quote(rule.message)}`]), ...(rule.expression === "" ? [] : [`expression: ${quote(rule.expression)}`])];
    return `(buf.validate.predefined).cel = {\n${indent}    ${members.join(`\n${indent}    `)}\n${indent}  }`;
  });
  const options = rules.length === 0 ? "" : ` [\n${indent}  ${rules.join(`,\n${indent}  `)}\n${indent}]`;
  return `${indent}${label}${type} ${field.name} = ${field.number}${options};`;
}

const typeName = (name) => name.replace(/^\.buf\.validate\./, "").replace(/^\./, "");

const quote = (text) => `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
