/** Connections of kind `http`: a base URL and headers that may be secret. */
import { type Json, type JsonObject, OneDataError } from "@onedata/core";
import { createConfigReader } from "../config-reader.ts";
import type { ConnectionKind } from "../sink.ts";
import { describeUrl, type HttpClient } from "./client.ts";
import { createRedactor } from "./redact.ts";

export type HttpConnection = { readonly baseUrl: URL; readonly headers: Readonly<Record<string, string>> };

export const httpConnectionSchema: JsonObject = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  required: ["baseUrl"],
  additionalProperties: false,
  properties: {
    baseUrl: { type: "string", format: "uri", pattern: "^https?://" },
    headers: {
      type: ["object", "string"],
      writeOnly: true,
      additionalProperties: { type: "string" },
      description: 'sent to this origin only; secrets are texts, so as JSON: {"Authorization": "Bearer …"}',
    },
  },
};

/** What each request carries by itself, or what would change how it is read. In lower case. */
export const RESERVED_HEADERS: ReadonlySet<string> = new Set([
  "host",
  "content-length",
  "content-type",
  "transfer-encoding",
  "connection",
  "idempotency-key",
  "expect",
  "upgrade",
  "te",
  "trailer",
]);

/** Throws `config.invalid`. */
export function readHttpConnection(given: JsonObject): HttpConnection {
  const config = typeof given["headers"] === "string" ? { ...given, headers: parseHeaders(given["headers"]) } : given;
  const reader = createConfigReader("http connection", config);
  const text = reader.requiredText("baseUrl");
  const url = parseHttpUrl(text);
  if (typeof url === "string" && text !== "") reader.problem("baseUrl", `baseUrl ${url}`);
  const headers = reader.textMap("headers") ?? new Map<string, string>();
  const problem = headerProblem(headers);
  if (problem !== undefined) reader.problem("headers", problem);
  reader.done();
  if (typeof url === "string") throw new OneDataError("config.invalid", `http connection: baseUrl ${url}`);
  return { baseUrl: url, headers: Object.fromEntries(headers) };
}

/** A secret is a text. What is no JSON stays one, and the reader says what it wants. */
function parseHeaders(text: string): Json {
  try {
    const parsed: Json = JSON.parse(text);
    return parsed;
  } catch {
    return text;
  }
}

/** The URL, or what is wrong with it. */
export function parseHttpUrl(text: string, base?: URL): URL | string {
  if (!URL.canParse(text, base?.href)) return "must be an http or https URL";
  const url = new URL(text, base?.href);
  if (url.protocol !== "http:" && url.protocol !== "https:") return "must begin with http:// or https://";
  if (url.username !== "" || url.password !== "") return "holds a user or password: put them into a secret header of a connection";
  return url;
}

/** Names and values that would break the request; values are never shown. */
export function headerProblem(headers: ReadonlyMap<string, string>): string | undefined {
  for (const [name, value] of headers) {
    if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(name)) return `${JSON.stringify(name)} is not a header name`;
    if (RESERVED_HEADERS.has(name.toLowerCase())) return `${name} is set by the sink itself`;
    if (/[^\t\x20-\x7e]/.test(value)) return `the value of ${name} holds characters a header cannot carry`;
  }
  return undefined;
}

export function createHttpConnectionKind(client: HttpClient): ConnectionKind {
  return {
    kind: "http",
    title: "HTTP endpoint",
    configSchema: httpConnectionSchema,
    async check(connection, _tenant, signal) {
      let secrets: Readonly<Record<string, string>> = {};
      try {
        const { baseUrl, headers } = readHttpConnection(connection.config);
        secrets = headers;
        const { status } = await client.send({
          method: "HEAD",
          url: baseUrl,
          headers: {},
          secretHeaders: headers,
          body: "",
          timeoutMs: 8_000,
          signal,
        });
        return status === 401 || status === 403 ? `${describeUrl(baseUrl)} answers ${status}: its headers are not accepted` : "";
      } catch (error) {
        return createRedactor(secrets).redact(OneDataError.from(error).message);
      }
    },
  };
}
