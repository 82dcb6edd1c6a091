/** One operation of the document per route of the contract. */
import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { commentOf, messageOf } from "@onedata/contracts";
import { parsePathTemplate, variablesOf } from "../rest/path-template.ts";
import { bodyMessageOf, HEADER_FIELDS, queryFieldsOf, type Route } from "../rest/routes.ts";
import { fieldNamed } from "../rest/shape-json.ts";
import { responseRef, type Schema } from "./document.ts";
import { EXAMPLES } from "./examples.ts";
import { HANDWRITTEN } from "./handwritten.ts";
import { STATUS_RESPONSES } from "./problems.ts";
import { rulesOf } from "./rules.ts";
import { describe, type Schemas } from "./schemas.ts";

export function operationOf(route: Route, schemas: Schemas, tag: string): Schema {
  const { rpc } = route;
  const byHand = HANDWRITTEN[rpc.fullName];
  if (rpc.policy.handwritten !== (byHand !== undefined))
    throw new Error(`openapi: ${rpc.fullName} is hand-written in the contract or in handwritten.ts, not in both`);
  const gone = byHand?.omit.find((name) => fieldNamed(rpc.input, name) === undefined);
  if (gone !== undefined) throw new Error(`openapi: ${rpc.fullName} has no field ${gone} any more; see handwritten.ts`);
  const comment = commentOf(rpc.fullName);
  const parameters = [...parametersOf(route, schemas, byHand?.omit ?? []), ...(byHand?.parameters ?? [])];
  const body = byHand?.body ?? bodyOf(route, schemas);
  return {
    operationId: rpc.name.charAt(0).toLowerCase() + rpc.name.slice(1),
    summary: comment.split(/(?<=\.)\s/)[0]?.replace(/\.$/, "") ?? rpc.name,
    description: byHand === undefined ? comment : `${comment}\n\n${byHand.description}`,
    tags: [tag],
    ...(rpc.policy.anonymous ? { security: [] } : { security: [{ oauth2: rpc.policy.scopes }] }),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(body === undefined ? {} : { requestBody: body }),
    responses: { ...(byHand?.responses(schemas, rpc.output) ?? successOf(route, schemas)), ...problemsOf(route, body !== undefined) },
    "x-onedata-timeout-ms": rpc.policy.timeoutMs,
  };
}

function parametersOf(route: Route, schemas: Schemas, omit: readonly string[]): Schema[] {
  const { input } = route.rpc;
  const variables = variablesOf(parsePathTemplate(route.path));
  const path = variables.map((name) => {
    const field = fieldNamed(input, name);
    if (field === undefined) throw new Error(`openapi: ${input.typeName} has no field ${name}`);
    return parameter("path", name, field, schemas);
  });
  const query = queryFieldsOf(route, variables)
    .filter((field) => !omit.includes(field.name))
    .map((field) => parameter("query", field.jsonName, field, schemas));
  const headers = route.rpc.policy.handwritten ? [] : headersOf(route, input);
  return [...path, ...query, ...headers];
}

function parameter(place: "path" | "query", name: string, field: DescField, schemas: Schemas): Schema {
  const { description, ...schema } = schemas.fieldSchema(field, "input");
  const required = place === "path" || rulesOf(field).required;
  const list = field.fieldKind === "list" ? { style: "form", explode: true } : {};
  return { name, in: place, ...(required ? { required } : {}), ...(description === undefined ? {} : { description }), ...list, schema };
}

function headersOf(route: Route, input: DescMessage): Schema[] {
  const found: Schema[] = [];
  if (route.method === "GET" && route.rpc.kind === "unary") {
    found.push({
      name: "If-None-Match",
      in: "header",
      description: "The etag of an earlier answer: 304 if nothing has changed.",
      schema: { type: "string" },
    });
  }
  if (fieldNamed(input, HEADER_FIELDS.ifMatch) !== undefined) {
    found.push({
      name: "If-Match",
      in: "header",
      description: "The etag that the resource must still have: 412 if it has changed.",
      schema: { type: "string" },
    });
  }
  if (fieldNamed(input, HEADER_FIELDS.idempotencyKey) !== undefined) {
    found.push({
      name: "Idempotency-Key",
      in: "header",
      description: "The same key with the same request has one effect.",
      schema: { type: "string", maxLength: 255 },
    });
  }
  return found;
}

function bodyOf(route: Route, schemas: Schemas): Schema | undefined {
  const raw = route.rpc.policy.rawBody;
  const example = EXAMPLES[route.rpc.fullName]?.request;
  if (raw !== undefined) {
    const content = raw.mediaTypes.map((type): [string, Schema] => [
      type,
      { schema: documentSchema(type, raw.schema, schemas), ...exampleFor(type, example) },
    ]);
    return { required: true, ...describe(`${route.rpc.input.typeName}.${raw.field}`), content: Object.fromEntries(content) };
  }
  const message = bodyMessageOf(route);
  if (message === undefined) return undefined;
  const inPath = route.rule.body === "*" ? variablesOf(parsePathTemplate(route.path)) : [];
  const required = message.fields.some((field) => !inPath.includes(field.name) && rulesOf(field).required) || route.rule.body !== "*";
  return {
    required,
    content: { "application/json": { schema: schemas.refTo(message, "input", inPath), ...exampleFor("application/json", example) } },
  };
}

function documentSchema(mediaType: string, message: string, schemas: Schemas): Schema {
  if (message !== "") return schemas.refTo(messageOf(message), "input");
  return mediaType === "application/json" ? {} : { type: "string" };
}

/** A table entry is either by media type, or the JSON itself. */
function exampleFor(mediaType: string, example: Schema | undefined): Schema {
  if (example === undefined) return {};
  const given = Object.keys(example).some((key) => key.includes("/")) ? example[mediaType] : mediaType === "application/json" ? example : undefined;
  return given === undefined ? {} : { example: given };
}

function successOf(route: Route, schemas: Schemas): Schema {
  const { rpc, rule } = route;
  const field = rule.responseBody === "" ? undefined : fieldNamed(rpc.output, rule.responseBody);
  const output = field?.fieldKind === "message" ? field.message : rpc.output;
  const schema = schemas.refTo(output, "output");
  const description = commentOf(output.typeName) || rpc.name;
  const status = String(rpc.policy.successStatus);
  if (status === "204") return { 204: { description } };
  if (rpc.kind === "server_streaming") {
    return {
      [status]: {
        description: `One ${output.name} per line, as they come. A stream that fails ends with a line \`{"problem": …}\` and a cut connection.`,
        content: { "application/x-ndjson": { schema } },
      },
    };
  }
  const reads = route.method === "GET";
  const headers = {
    ...(reads || hasEtag(output) ? { ETag: { description: "Changes with every change.", schema: { type: "string" } } } : {}),
    ...(fieldNamed(output, "next_page_token") === undefined
      ? {}
      : { Link: { description: 'The next page: `<…>; rel="next"`.', schema: { type: "string" } } }),
  };
  const example = EXAMPLES[rpc.fullName]?.response;
  return {
    [status]: {
      description,
      ...(Object.keys(headers).length > 0 ? { headers } : {}),
      content: { "application/json": { schema, ...(example === undefined ? {} : { example }) } },
    },
    ...(reads ? { 304: { description: "Nothing has changed since the etag of If-None-Match." } } : {}),
  };
}

const hasEtag = (message: DescMessage): boolean =>
  message.fields.some(
    (field) => field.name === "etag" || (field.fieldKind === "message" && field.message.fields.some(({ name }) => name === "etag")),
  );

function problemsOf(route: Route, hasBody: boolean): Schema {
  const { rpc } = route;
  const capture = rpc.policy.handwritten;
  const statuses = [
    400,
    ...(rpc.policy.anonymous ? [] : [401, 403]),
    ...(route.path.includes("{") ? [404] : []),
    ...(route.method === "GET" ? [] : [409]),
    ...(fieldNamed(rpc.input, HEADER_FIELDS.ifMatch) === undefined ? [] : [412]),
    ...(hasBody ? [413, 415] : []),
    ...(rpc.policy.rawBody === undefined ? [] : [422]),
    ...(capture ? [429] : []),
    503,
  ];
  const named = statuses.map((status): [string, Schema] => [String(status), responseRef(STATUS_RESPONSES[status] ?? "Unexpected")]);
  return { ...Object.fromEntries(named), default: responseRef("Unexpected") };
}
