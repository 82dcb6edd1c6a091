/** One answer: JSON with raw values digit for digit, status of the policy, ETag and 304, `Link: rel="next"`. */

import { createHash } from "node:crypto";
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { DescMessage, Message } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { messageToJsonText } from "@onedata/contracts";
import type { Route } from "./routes.ts";
import { fieldNamed } from "./shape-json.ts";

export type Exchange = {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly route: Route;
  readonly path: string;
  readonly query: URLSearchParams;
};

export function sendMessage({ request, response, route, path, query }: Exchange, message: Message): void {
  const { rpc, rule } = route;
  const reads = route.method === "GET";
  const status = rpc.policy.successStatus;
  if (status === 204) {
    response.writeHead(204).end();
    return;
  }
  const body = Buffer.from(toText(rpc.output, message, rule.responseBody));
  const etag = etagOf(rpc.output, message) ?? (reads ? createHash("sha256").update(body).digest("base64url").slice(0, 22) : undefined);
  const headers: OutgoingHttpHeaders = { "cache-control": reads ? "private, no-cache" : "no-store" };
  if (etag !== undefined) headers["etag"] = `"${etag}"`;
  const next = textField(rpc.output, message, "next_page_token");
  if (next) {
    const following = new URLSearchParams(query);
    following.delete("page_token");
    following.set("pageToken", next);
    headers["link"] = `<${path}?${following.toString()}>; rel="next"`;
  }
  if (reads && etag !== undefined && matches(request.headers["if-none-match"], etag)) {
    response.writeHead(304, headers).end();
    return;
  }
  response.writeHead(status, { ...headers, "content-type": "application/json", "content-length": body.length });
  response.end(body);
}

function toText(desc: DescMessage, message: Message, responseBody: string): string {
  if (responseBody === "") return messageToJsonText(desc, message);
  const field = fieldNamed(desc, responseBody);
  if (field?.fieldKind !== "message") throw new Error(`${desc.typeName}: response_body ${JSON.stringify(responseBody)} is not a message field`);
  return messageToJsonText(field.message, reflect(desc, message).get(field).message);
}

/** The etag of the answer itself, or of the one resource in it. */
function etagOf(desc: DescMessage, message: Message): string | undefined {
  const own = textField(desc, message, "etag");
  if (own) return own;
  for (const field of desc.fields) {
    if (field.fieldKind !== "message" || fieldNamed(field.message, "etag") === undefined) continue;
    const value = reflect(desc, message);
    if (!value.isSet(field)) continue;
    return textField(field.message, value.get(field).message, "etag") || undefined;
  }
  return undefined;
}

function textField(desc: DescMessage, message: Message, name: string): string | undefined {
  const field = desc.fields.find((known) => known.name === name);
  if (field?.fieldKind !== "scalar") return undefined;
  const value: unknown = reflect(desc, message).get(field);
  return typeof value === "string" ? value : undefined;
}

/** RFC 9110, section 13.1.2: weak comparison. */
export function matches(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.trim() === "*" || header.split(",").some((candidate) => candidate.trim().replace(/^W\//, "") === `"${etag}"`);
}
