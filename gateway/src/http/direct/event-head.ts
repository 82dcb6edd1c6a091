/**
 * Reads the head of `POST /v1/pipelines/{pipeline}/events`, in the plain form that nearly every client and proxy sends, and of nothing else.
 *
 * Duty: say what a head means, or that it is not for us. Non-duty: refusing anything (node's HTTP server does, it gets whatever is `FOREIGN`, byte for byte).
 * Invariant: what is read here, node's parser reads the same way. So this is narrower than RFC 9112, never wider: CRLF only, no folding, no obs-text, one
 * `Content-Length` of digits and no other framing, no header twice that counts, no query, no expectation, no change of the connection.
 */
import type { IncomingHttpHeaders } from "node:http";

export type EventHead = {
  readonly url: string;
  readonly pipeline: string;
  /** Those that the capture route and the authenticators look at, in lower case. */
  readonly headers: IncomingHttpHeaders;
  readonly bodyStart: number;
  readonly contentLength: number;
};

/** Hand it to node, with all its bytes. */
export const FOREIGN = "foreign";
/** May become an event: more bytes are needed. */
export const INCOMPLETE = "incomplete";

/** As node's own limit. */
const MAX_HEAD_BYTES = 16 * 1024;
const MAX_HEADERS = 100;
const START = Buffer.from("POST /v1/pipelines/", "latin1");
const HEAD_END = Buffer.from("\r\n\r\n", "latin1");
const REQUEST_LINE = /POST (\/v1\/pipelines\/([A-Za-z0-9._~-]{1,200})\/events) HTTP\/1\.1\r\n/y;
const HEADER = /([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?[ \t]*\r\n/y;
const LENGTH = /^\d{1,9}$/;

/** `keep`: a value that is read later; `once`: it must not come twice; `foreign`: its sender wants something that node does. */
const MEANING: ReadonlyMap<string, "keep" | "foreign" | "once"> = new Map([
  ["host", "once"],
  ["content-length", "once"],
  ["connection", "once"],
  ...["authorization", "content-type", "content-encoding", "idempotency-key", "traceparent", "tracestate", "prefer"].map(
    (name) => [name, "keep"] as const,
  ),
  ...["x-onedata-gateway-secret", "x-credential-identifier", "x-authenticated-scope", "x-consumer-id", "x-anonymous-consumer"].map(
    (name) => [name, "keep"] as const,
  ),
  ...["transfer-encoding", "expect", "upgrade", "te", "trailer", "http2-settings", "proxy-connection"].map((name) => [name, "foreign"] as const),
]);

export function readEventHead(bytes: Buffer): EventHead | typeof FOREIGN | typeof INCOMPLETE {
  const shared = Math.min(bytes.length, START.length);
  if (bytes.compare(START, 0, shared, 0, shared) !== 0) return FOREIGN;
  const end = bytes.indexOf(HEAD_END);
  if (end < 0) return bytes.length > MAX_HEAD_BYTES ? FOREIGN : INCOMPLETE;
  if (end > MAX_HEAD_BYTES) return FOREIGN;
  const text = bytes.toString("latin1", 0, end + 2);
  REQUEST_LINE.lastIndex = 0;
  const line = REQUEST_LINE.exec(text);
  if (line === null) return FOREIGN;
  const [, url = "", pipeline = ""] = line;
  const headers: Record<string, string> = {};
  let count = 0;
  for (let at = REQUEST_LINE.lastIndex; at < text.length; at = HEADER.lastIndex) {
    HEADER.lastIndex = at;
    const header = HEADER.exec(text);
    if (header === null || ++count > MAX_HEADERS) return FOREIGN;
    const name = (header[1] ?? "").toLowerCase();
    const meaning = MEANING.get(name);
    if (meaning === undefined) continue;
    if (meaning === "foreign" || headers[name] !== undefined) return FOREIGN;
    headers[name] = header[2] ?? "";
  }
  const { host, connection, "content-length": length } = headers;
  if (host === undefined || length === undefined || !LENGTH.test(length)) return FOREIGN;
  if (connection !== undefined && connection.toLowerCase() !== "keep-alive") return FOREIGN;
  return { url, pipeline, headers, bodyStart: end + HEAD_END.length, contentLength: Number(length) };
}
