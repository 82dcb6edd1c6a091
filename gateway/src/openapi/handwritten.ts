/**
 * What the contract cannot say of the routes that are written by hand: headers, parameters, the second answer of a waiting capture.
 * Invariant: `operations.ts` refuses a hand-written method that is not here, and an entry that is not hand-written any more.
 */
import type { DescMessage } from "@bufbuild/protobuf";
import { type Schema, schemaRef } from "./document.ts";
import type { Schemas } from "./schemas.ts";

export type HandWritten = {
  readonly description: string;
  /** Request fields that are no query parameters here. */
  readonly omit: readonly string[];
  readonly parameters: readonly Schema[];
  readonly body: Schema;
  readonly responses: (schemas: Schemas, output: DescMessage) => Schema;
};

const IDEMPOTENCY_KEY: Schema = { name: "Idempotency-Key", in: "header", schema: { type: "string", minLength: 1, maxLength: 255 } };
const TRACEPARENT: Schema = {
  name: "traceparent",
  in: "header",
  description: "W3C trace context; the event's spans join this trace.",
  schema: { type: "string" },
};

export const HANDWRITTEN: Readonly<Record<string, HandWritten>> = {
  "onedata.capture.v1.CaptureService.CaptureEvent": {
    description:
      "The payload is kept byte for byte. Answers after the commit: an event that was answered with 202 is never lost. Bodies of other media types are captured as " +
      '`{"mediaType", "text" | "base64"}`, for a step `parse.*`.',
    omit: ["wait_seconds"],
    parameters: [
      { ...IDEMPOTENCY_KEY, description: "The same key and payload within 24 hours answer the first event's id; another payload answers 409." },
      {
        name: "Prefer",
        in: "header",
        description: "`wait=5` (RFC 7240): answers 200 with the verdict if it is known in time. At most 30 seconds.",
        schema: { type: "string", pattern: "wait=\\d+" },
        example: "wait=5",
      },
      TRACEPARENT,
    ],
    body: {
      required: true,
      description: "One JSON value.",
      content: {
        "application/json": { schema: { description: "Any JSON value." }, example: { id: 1, price: 2, quantity: 3, country_code: "NO" } },
        "*/*": { schema: { description: "Captured in an envelope.", type: "string", format: "binary" } },
      },
    },
    responses: (schemas, output) => ({
      202: {
        description: "Captured.",
        headers: LOCATION,
        content: { "application/json": { schema: schemas.refTo(output, "sparse"), example: { id: "evt_1m830bd9j0001_0" } } },
      },
      200: {
        description: "Captured and done within the time of `Prefer: wait`.",
        headers: { ...LOCATION, "Preference-Applied": { description: "The wait that was granted.", schema: { type: "string" } } },
        content: {
          "application/json": {
            schema: {
              allOf: [
                schemas.refTo(output, "sparse"),
                {
                  type: "object",
                  properties: {
                    outputs: {
                      type: "array",
                      items: {},
                      description: "What it became; of pipelines that write to onedata.outputs, with the scope events:read.",
                    },
                  },
                },
              ],
            },
            example: { id: "evt_1m830bd9j0001_0", state: "done", verdict: "delivered", outputs: [{ id: 1, price: 2, quantity: 3, total: 6 }] },
          },
        },
      },
    }),
  },
  "onedata.imports.v1.ImportService.UploadImport": {
    description:
      "The body is streamed; memory is bounded at any size. Lines that cannot be read are rejected and listed under `/rejects`, the others go on. With an " +
      "`Idempotency-Key` an import that was cut off goes on: the same key with an empty body answers `resumeFrom`; send the rest with `from` and `prefixHash`, or the whole body again.",
    omit: ["header", "delimiter", "from"],
    parameters: [
      { ...IDEMPOTENCY_KEY, description: "Names the import, so that it can go on after it was cut off." },
      { name: "Content-Encoding", in: "header", description: "The body may be compressed.", schema: { type: "string", enum: ["identity", "gzip"] } },
      {
        name: "delimiter",
        in: "query",
        description: "CSV only; found out if left out.",
        schema: { type: "string", enum: [",", ";", "|", "tab", "comma", "semicolon", "pipe"] },
      },
      {
        name: "header",
        in: "query",
        description: "CSV only: names of the columns, with commas between or repeated; none takes the first line.",
        style: "form",
        explode: true,
        schema: { type: "array", items: { type: "string" } },
      },
      {
        name: "emptyAs",
        in: "query",
        description: "CSV only: what an empty cell becomes.",
        schema: { type: "string", enum: ["string", "null", "omit"] },
      },
      { name: "name", in: "query", description: "For people, e.g. the file's name.", schema: { type: "string", maxLength: 200 } },
      { name: "from", in: "query", description: "Decompressed byte at which this body goes on.", schema: { type: "integer", minimum: 0 } },
      {
        name: "prefixHash",
        in: "query",
        description: "With `from`: CRC-32 of the bytes before it.",
        schema: { type: "string", pattern: "^crc32:[0-9a-f]{8}$" },
      },
    ],
    body: {
      required: false,
      description: "Empty: asks how far the import of the `Idempotency-Key` has come.",
      content: {
        "application/x-ndjson": { schema: { type: "string" }, example: '{"id":1,"price":2}\n{"id":2,"price":5}\n' },
        "text/csv": { schema: { type: "string" }, example: "id,price\n1,2\n2,5\n" },
        "application/json": {
          schema: { type: "array", items: {} },
          example: [
            { id: 1, price: 2 },
            { id: 2, price: 5 },
          ],
        },
      },
    },
    responses: (schemas, output) => ({
      202: {
        description: "Received as a whole; its records are being processed.",
        headers: LOCATION,
        content: { "application/json": { schema: schemas.refTo(output, "sparse") } },
      },
      200: {
        description: "To an empty body: how far the import of this `Idempotency-Key` has come.",
        headers: LOCATION,
        content: { "application/json": { schema: schemas.refTo(output, "sparse") } },
      },
    }),
  },
};

const LOCATION = { Location: { description: "Where to read on.", schema: { type: "string", format: "uri-reference" } } };

/** Routes that no method of the contract has. */
export const OTHER_PATHS: Readonly<Record<string, Readonly<Record<string, Schema>>>> = {
  "/oauth2/token": {
    post: {
      operationId: "issueToken",
      summary: "An access token (client_credentials)",
      description: "Statuses, bodies and headers are those of Kong's oauth2 plugin, which serves this route where Kong is deployed.",
      tags: ["Installation"],
      security: [],
      requestBody: {
        required: true,
        content: {
          "application/x-www-form-urlencoded": {
            schema: {
              type: "object",
              required: ["grant_type", "scope"],
              properties: {
                grant_type: { type: "string", const: "client_credentials" },
                client_id: { type: "string", description: "Here, or by HTTP Basic." },
                client_secret: { type: "string" },
                scope: { type: "string", description: "With spaces between.", examples: ["pipelines:read events:write"] },
              },
            },
          },
        },
      },
      responses: {
        200: {
          description: "A bearer token.",
          content: {
            "application/json": {
              schema: {
                type: "object",
                required: ["access_token", "token_type", "expires_in"],
                properties: {
                  access_token: { type: "string" },
                  token_type: { type: "string", const: "bearer" },
                  expires_in: { type: "integer", description: "Seconds." },
                },
              },
            },
          },
        },
        400: { description: "Refused.", content: { "application/json": { schema: schemaRef("OAuthError") } } },
        401: { description: "Wrong secret by HTTP Basic.", content: { "application/json": { schema: schemaRef("OAuthError") } } },
      },
    },
  },
  "/healthz": { get: health("isAlive", "The process answers", { 200: healthAnswer("It does.") }) },
  "/readyz": {
    get: health("isReady", "The process is ready for traffic", {
      200: healthAnswer("It is."),
      503: healthAnswer("Something it needs is not there, or it is draining."),
    }),
  },
  "/openapi.json": {
    get: {
      operationId: "getOpenApi",
      summary: "This document",
      tags: ["Installation"],
      security: [],
      parameters: [{ name: "If-None-Match", in: "header", schema: { type: "string" } }],
      responses: {
        200: { description: "OpenAPI 3.1.", content: { "application/json": { schema: { type: "object" } } } },
        304: { description: "Nothing has changed." },
      },
    },
  },
};

function health(operationId: string, summary: string, responses: Schema): Schema {
  return { operationId, summary, tags: ["Installation"], security: [], responses };
}

function healthAnswer(description: string): Schema {
  const schema = {
    type: "object",
    required: ["status"],
    properties: { status: { type: "string" }, checks: { type: "object", additionalProperties: { type: "string" } } },
  };
  return { description, content: { "application/json": { schema } } };
}
