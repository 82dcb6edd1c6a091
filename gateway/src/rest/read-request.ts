/**
 * From an HTTP request to the request message of a method.
 * Duty: path variables, query, body (JSON of the message or of one field, or a document of its own), If-Match and Idempotency-Key, then the contract's rules.
 * Non-duty: who may call. Invariants: what is not understood is refused, never dropped; all violations are reported at once.
 */

import type { IncomingHttpHeaders } from "node:http";
import {
  type DescField,
  type DescMessage,
  fromJson,
  type JsonValue,
  type Message,
  type JsonObject as PlainObject,
  ScalarType,
} from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { messageFromJsonText, validateMessage } from "@onedata/contracts";
import { didYouMean, isJsonObject, type Json, type JsonObject, OneDataError, type Violation } from "@onedata/core";
import { locateJsonError, parseJson } from "@onedata/formats";
import { mediaTypeOf, requireJson, requireRawBody } from "./media-type.ts";
import { bodyMessageOf, HEADER_FIELDS, queryFieldsOf, type Route } from "./routes.ts";
import { fieldNamed, shapeJson } from "./shape-json.ts";

export type RawRequest = {
  /** Variables of the path by name in the contract, decoded. */
  readonly variables: readonly (readonly [name: string, value: string])[];
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
};

/** Throws `request.malformed`, `request.invalid`, `request.unsupported_media_type`. */
export function readRequest(route: Route, request: RawRequest): Message {
  const { input } = route.rpc;
  const violations: Violation[] = [];
  const raw = route.rpc.policy.rawBody;
  const mediaType = mediaTypeOf(request.headers);

  if (raw !== undefined) requireRawBody(raw, mediaType);
  const body = raw === undefined ? readJsonBody(route, request, mediaType, violations) : undefined;
  const parameters: PlainObject = {};
  for (const [name, value] of request.variables) setVariable(input, parameters, name, value, violations);
  if (body !== undefined && route.rule.body === "*") refuseContradictions(parameters, body.shaped, violations);
  readQuery(route, request, parameters, violations);
  readHeaders(route, request.headers, parameters);
  refuse(violations);

  const message = body === undefined ? fromJson(input, parameters) : fromTexts(route, body.text, parameters);
  if (raw !== undefined) setDocument(input, message, raw.field, request.body, raw.mediaTypeField, requireRawBody(raw, mediaType));
  refuse(validateMessage(input, message).map((violation) => ({ ...violation, pointer: pointerInBody(route, violation.pointer) })));
  return message;
}

/**
 * The body as it was written and the parameters after it, as one text: raw JSON keeps its digits only in its own text. Of doubled members the last counts,
 * so the path wins.
 */
function fromTexts(route: Route, bodyText: string, parameters: PlainObject): Message {
  const { input } = route.rpc;
  const members = JSON.stringify(parameters).slice(1, -1);
  const own = route.rule.body === "*" ? bodyText.trim().slice(1, -1).trim() : `${JSON.stringify(route.rule.body)}:${bodyText}`;
  try {
    return messageFromJsonText(input, `{${[own, members].filter((part) => part !== "").join(",")}}`);
  } catch (cause) {
    throw new OneDataError("request.invalid", `the body does not fit ${input.name}: ${cause instanceof Error ? cause.message : ""}`, { cause });
  }
}

/** The path decides; a body that says something else is a mistake, not an override. */
function refuseContradictions(parameters: PlainObject, body: PlainObject, violations: Violation[]): void {
  for (const [name, value] of Object.entries(parameters)) {
    const said = body[name];
    if (said === undefined || said === value) continue;
    const detail = `the path says ${JSON.stringify(value)}, the body ${JSON.stringify(said)}: leave it out of the body`;
    violations.push({ pointer: `/${name}`, code: "conflict", detail });
  }
}

function refuse(violations: readonly Violation[]): void {
  if (violations.length === 0) return;
  const [first] = violations;
  const rest = violations.length === 1 ? "" : ` (and ${violations.length - 1} more)`;
  throw new OneDataError("request.invalid", `${first?.pointer ?? ""}: ${first?.detail ?? ""}${rest}`.replace(/^: /, ""), { violations });
}

type JsonBody = { readonly text: string; readonly shaped: PlainObject };

function readJsonBody(route: Route, { body, headers }: RawRequest, mediaType: string | undefined, violations: Violation[]): JsonBody | undefined {
  const desc = bodyMessageOf(route);
  if (desc === undefined) {
    if (body.length > 0) throw new OneDataError("request.invalid", `${route.method} ${route.path} takes no body: leave it out`);
    return undefined;
  }
  if (body.length === 0) return undefined;
  requireJson(mediaType, headers);
  const text = decodeText(body);
  const value = parseText(text);
  if (!isJsonObject(value)) {
    throw new OneDataError("request.invalid", "the body must be a JSON object", {
      violations: [{ pointer: "", code: "type", detail: "must be an object" }],
    });
  }
  return { text, shaped: shapeJson(desc, value, violations) };
}

function parseText(text: string): Json {
  try {
    return parseJson(text);
  } catch (cause) {
    const where = locateJsonError(text);
    throw new OneDataError("request.malformed", `the body is not JSON: ${where === undefined ? String(cause) : describe(where)}`, { cause });
  }
}

const describe = (error: NonNullable<ReturnType<typeof locateJsonError>>): string => `${error.message} (line ${error.line}, column ${error.column})`;

function decodeText(body: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch (cause) {
    throw new OneDataError("request.malformed", "the body is not valid UTF-8: encode it as UTF-8", { cause });
  }
}

function setVariable(desc: DescMessage, json: PlainObject, name: string, value: string, violations: Violation[]): void {
  const [head = "", ...rest] = name.split(".");
  const field = fieldNamed(desc, head);
  if (field === undefined) throw new Error(`${desc.typeName} has no field ${name}`);
  if (rest.length > 0) {
    if (field.fieldKind !== "message") throw new Error(`${desc.typeName}.${head} is not a message`);
    setVariable(field.message, childObject(json, field.jsonName), rest.join("."), value, violations);
    return;
  }
  const shaped = shapeJson(desc, { [field.jsonName]: fromText(field, value) }, violations)[field.jsonName];
  if (shaped !== undefined) json[field.jsonName] = shaped;
}

function readQuery(route: Route, { query, variables }: RawRequest, json: PlainObject, violations: Violation[]): void {
  const fields = queryFieldsOf(
    route,
    variables.map(([name]) => name),
  );
  for (const name of new Set(query.keys())) {
    const [head = "", ...rest] = name.split(".");
    const field = fields.find((known) => known.jsonName === head || known.name === head);
    const values = query.getAll(name);
    if (field === undefined) {
      const known = fields.map(({ jsonName }) => jsonName);
      const hint = didYouMean(head, known) || (known.length === 0 ? "; this route takes none" : `; known: ${known.join(", ")}`);
      violations.push({ pointer: `/${name}`, code: "unknown", detail: `unknown query parameter ${JSON.stringify(name)}${hint}` });
      continue;
    }
    const value = queryValue(field, rest, values);
    if (value === undefined)
      violations.push({ pointer: `/${name}`, code: "duplicate", detail: `query parameter ${name} is given ${values.length} times: give it once` });
    else mergeInto(json, shapeJson(route.rpc.input, { [field.jsonName]: value }, violations));
  }
}

/** `filter.state=open` is the object `{"state":"open"}` of the field `filter`. */
function queryValue(field: DescField, rest: readonly string[], values: readonly string[]): Json | undefined {
  const [head, ...deeper] = rest;
  if (head !== undefined && field.fieldKind === "message") {
    const child = fieldNamed(field.message, head);
    const value = child === undefined ? (values[0] ?? "") : queryValue(child, deeper, values);
    return value === undefined ? undefined : ({ [head]: value } satisfies JsonObject);
  }
  if (field.fieldKind === "list") return values.map((value) => fromText(field, value));
  return values.length === 1 ? fromText(field, values[0] ?? "") : undefined;
}

/** Text of a path or query as JSON of its field: numbers and names stay text, which proto3 JSON reads. */
function fromText(field: DescField, text: string): Json {
  if (field.scalar === ScalarType.BOOL) return text === "true" ? true : text === "false" ? false : text;
  return text;
}

function readHeaders(route: Route, headers: IncomingHttpHeaders, json: PlainObject): void {
  const { input } = route.rpc;
  const ifMatch = headers["if-match"];
  if (ifMatch !== undefined) {
    const field = fieldNamed(input, HEADER_FIELDS.ifMatch);
    if (field === undefined) throw new OneDataError("request.invalid", `${route.method} ${route.path} cannot check If-Match: leave the header out`);
    json[field.jsonName] = ifMatch.trim().replace(/^(?:W\/)?"(.*)"$/, "$1");
  }
  const key = headers["idempotency-key"];
  const field = fieldNamed(input, HEADER_FIELDS.idempotencyKey);
  if (typeof key === "string" && field !== undefined) json[field.jsonName] = key;
}

function setDocument(desc: DescMessage, message: Message, fieldName: string, body: Buffer, mediaTypeField: string, mediaType: string): void {
  const target = reflect(desc, message);
  const field = fieldNamed(desc, fieldName);
  if (field?.fieldKind !== "scalar") throw new Error(`${desc.typeName}.${fieldName} cannot hold a document`);
  target.set(field, field.scalar === ScalarType.BYTES ? body : decodeText(body));
  const type = fieldNamed(desc, mediaTypeField);
  if (type !== undefined) target.set(type, mediaType);
}

/** Pointers are into the document that the caller sent: the body's own field is its root. */
function pointerInBody(route: Route, pointer: string): string {
  const field = route.rule.body === "" || route.rule.body === "*" ? undefined : fieldNamed(route.rpc.input, route.rule.body);
  if (field === undefined) return pointer;
  const prefix = `/${field.jsonName}`;
  return pointer === prefix || pointer.startsWith(`${prefix}/`) ? pointer.slice(prefix.length) : pointer;
}

function childObject(json: PlainObject, name: string): PlainObject {
  const child = json[name];
  if (isPlainObject(child)) return child;
  const made: PlainObject = {};
  json[name] = made;
  return made;
}

function mergeInto(target: PlainObject, source: PlainObject): void {
  for (const [name, value] of Object.entries(source)) {
    const before = target[name];
    if (isPlainObject(before) && isPlainObject(value)) mergeInto(before, value);
    else target[name] = value;
  }
}

const isPlainObject = (value: JsonValue | undefined): value is PlainObject => typeof value === "object" && value !== null && !Array.isArray(value);
