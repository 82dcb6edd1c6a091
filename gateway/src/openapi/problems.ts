/** Error answers, once for all routes: ours (RFC 9457) and those that Kong gives before a request reaches us. */
import { catalogue } from "@onedata/core";
import { type Schema, schemaRef } from "./document.ts";

export const PROBLEM_SCHEMAS: Readonly<Record<string, Schema>> = {
  Problem: {
    type: "object",
    description: "Problem details (RFC 9457).",
    required: ["type", "title", "status", "code", "detail"],
    properties: {
      type: { type: "string", format: "uri-reference", description: "A page of the docs." },
      title: { type: "string", description: "The same for every occurrence of the code." },
      status: { type: "integer", description: "HTTP status." },
      code: { type: "string", enum: Object.keys(catalogue), description: "Code of the error catalogue." },
      detail: { type: "string", description: "What failed, with which value, and what to do." },
      errors: { type: "array", items: schemaRef("Violation"), description: "Each thing that is wrong in the document." },
      retryAfter: { type: "integer", minimum: 0, description: "Seconds to wait before trying again; also sent as Retry-After." },
      instance: { type: "string", description: "Names the log line of an internal error." },
      error: { type: "string", description: "401 and 403 only: the same word that Kong says." },
      error_description: { type: "string", description: "401 and 403 only: the same sentence that Kong says." },
    },
  },
  Violation: {
    type: "object",
    description: "One thing wrong in a document.",
    required: ["pointer", "code", "detail"],
    properties: {
      pointer: { type: "string", format: "json-pointer", description: "Where (RFC 6901)." },
      code: { type: "string", description: "The rule that was broken." },
      detail: { type: "string", description: "What to do." },
    },
  },
  OAuthError: {
    type: "object",
    description: "An error as RFC 6749 and Kong's oauth2 plugin write it.",
    required: ["error", "error_description"],
    properties: {
      error: { type: "string", examples: ["invalid_token"] },
      error_description: { type: "string", examples: ["The access token is invalid or has expired"] },
      state: { type: "string" },
    },
  },
  KongMessage: {
    type: "object",
    description: "Any other refusal of Kong.",
    required: ["message"],
    properties: { message: { type: "string", examples: ["API rate limit exceeded"] }, request_id: { type: "string" } },
  },
};

const problem = { schema: schemaRef("Problem") };
const WWW_AUTHENTICATE = {
  "WWW-Authenticate": { description: "As Kong sends it.", schema: { type: "string" }, example: 'Bearer realm="onedata", error="invalid_token"' },
};
const RETRY_AFTER = { "Retry-After": { description: "Seconds to wait.", schema: { type: "integer", minimum: 0 } } };

const ours = (description: string, more: Schema = {}): Schema => ({ description, ...more, content: { "application/problem+json": problem } });
/** Kong answers in front of us, with bodies of its own. */
const withKong = (description: string, kong: string, more: Schema = {}): Schema => ({
  description,
  ...more,
  content: { "application/problem+json": problem, "application/json": { schema: schemaRef(kong) } },
});

export const PROBLEM_RESPONSES: Readonly<Record<string, Schema>> = {
  BadRequest: ours("The request could not be read or breaks a rule; `errors` says where."),
  Unauthorized: withKong("No token, or one that is not valid (any more). Behind Kong the body is Kong's own.", "OAuthError", {
    headers: WWW_AUTHENTICATE,
  }),
  Forbidden: withKong("The token lacks a scope. Behind Kong the body can be Kong's own.", "KongMessage", { headers: WWW_AUTHENTICATE }),
  NotFound: ours("There is no such thing, or it belongs to somebody else."),
  Conflict: ours("The state of the thing does not allow this."),
  PreconditionFailed: ours("The resource has changed since the etag of If-Match."),
  PayloadTooLarge: withKong("The body is too large.", "KongMessage"),
  UnsupportedMediaType: ours("The media type is not taken; the detail lists those that are."),
  UnprocessableContent: ours("The document has problems; `errors` says where."),
  TooManyRequests: withKong("A quota is used up.", "KongMessage", { headers: RETRY_AFTER }),
  ServiceUnavailable: ours("Something behind is down or busy; try again.", { headers: RETRY_AFTER }),
  Unexpected: ours("Any other error."),
};

export const STATUS_RESPONSES: Readonly<Record<number, string>> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  409: "Conflict",
  412: "PreconditionFailed",
  413: "PayloadTooLarge",
  415: "UnsupportedMediaType",
  422: "UnprocessableContent",
  429: "TooManyRequests",
  503: "ServiceUnavailable",
};
