/**
 * Checks messages against the rules of the contract (`buf.validate`), and text of public requests for what cannot be stored, the same on every face.
 * Duty: violations as JSON Pointers with the rule's id. Non-duty: throwing; who asks decides.
 * Cost (236 B request with patterns): 38 us; a message without any rule costs a map look-up. The first check of a type compiles its rules (up to 126 ms): `warmUpValidators`.
 * Patterns run on RE2, in linear time.
 */
import type { DescField, DescMessage, DescOneof, Message } from "@bufbuild/protobuf";
import type { Path } from "@bufbuild/protobuf/reflect";
import { createValidator } from "@bufbuild/protovalidate";
import { once, oncePer } from "./once.ts";
import { messageOf, readContract } from "./registry.ts";
import { toMessage } from "./structural.ts";
import { findUnstorableText } from "./unstorable-text.ts";
import type { ContractViolation } from "./violation.ts";

/** Checks a complete ts-proto message; `typeName` is the `$type` of its codec. Empty = valid. */
export function validate(typeName: string, message: unknown): readonly ContractViolation[] {
  const desc = messageByName(typeName);
  return hasRules(desc) || isPublicRequest(desc) ? validateMessage(desc, toMessage(desc, message)) : [];
}

/** The same for a protobuf-es message. */
export function validateMessage(desc: DescMessage, message: Message): readonly ContractViolation[] {
  const unstorable = isPublicRequest(desc) ? findUnstorableText(desc, message) : [];
  if (!hasRules(desc)) return unstorable;
  const result = validator().validate(desc, message);
  switch (result.kind) {
    case "valid":
      return unstorable;
    case "invalid": {
      const known = new Set(unstorable.map(({ pointer }) => pointer));
      const broken = result.violations.map(({ field, ruleId, message: detail }) => ({ pointer: toPointer(field), code: ruleId, detail }));
      return [...unstorable, ...broken.filter(({ pointer }) => !known.has(pointer))];
    }
    case "error":
      throw result.error;
  }
}

/** Compiles the rules of every request (or of those named), so that the first caller does not wait. */
export function warmUpValidators(typeNames: readonly string[] = readContract().methods.map((method) => method.input.typeName)): void {
  for (const typeName of new Set(typeNames)) {
    const desc = messageOf(typeName);
    if (hasRules(desc)) validator().validate(desc, toMessage(desc, {}));
  }
}

const validator = once(() => createValidator());

const messageByName = oncePer(messageOf);

/** What callers from outside send. Messages between our own workloads carry records by the thousand and are not searched. */
const isPublicRequest = oncePer((desc: DescMessage): boolean =>
  readContract().services.some(({ internal, methods }) => !internal && methods.some(({ input }) => input.typeName === desc.typeName)),
);

/** Number of the extensions `buf.validate.message`, `.oneof` and `.field`. */
const RULES = 1159;

/** Whether a rule stands anywhere below; most data-plane messages have none. */
const hasRules = oncePer((desc: DescMessage): boolean => {
  const seen = new Set<DescMessage>();
  const search = (message: DescMessage): boolean => {
    if (seen.has(message)) return false;
    seen.add(message);
    return (
      carriesRules(message) ||
      message.oneofs.some(carriesRules) ||
      message.fields.some((field) => carriesRules(field) || (field.message !== undefined && search(field.message)))
    );
  };
  return search(desc);
});

const carriesRules = ({ proto }: DescMessage | DescField | DescOneof): boolean => proto.options?.$unknown?.some(({ no }) => no === RULES) ?? false;

/** JSON names, as the caller of REST wrote them. */
function toPointer(path: Path): string {
  return path
    .map((part) => {
      if (part.kind === "list_sub") return part.index;
      if (part.kind === "map_sub") return String(part.key);
      return part.kind === "field" ? part.jsonName : part.name;
    })
    .map((part) => `/${String(part).replaceAll("~", "~0").replaceAll("/", "~1")}`)
    .join("");
}
