/** Which bodies a route takes. Compared by media type alone; the charset, if given, must be UTF-8. */

import type { IncomingHttpHeaders } from "node:http";
import type { RawBody } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";

/** Names that people and tools use for one and the same type. RFC 9512 lists those of YAML. */
const ALIASES: Readonly<Record<string, string>> = {
  "application/x-yaml": "application/yaml",
  "text/yaml": "application/yaml",
  "text/x-yaml": "application/yaml",
  "text/json": "application/json",
  "application/csv": "text/csv",
  "application/ndjson": "application/x-ndjson",
  "application/jsonl": "application/x-ndjson",
};

/** Lower case, without parameters; undefined without the header. */
export function mediaTypeOf(headers: IncomingHttpHeaders): string | undefined {
  const [type = "", ...parameters] = (headers["content-type"] ?? "").split(";").map((part) => part.trim().toLowerCase());
  const charset = parameters
    .find((parameter) => parameter.startsWith("charset="))
    ?.slice("charset=".length)
    .replaceAll('"', "");
  if (charset !== undefined && charset !== "utf-8" && charset !== "utf8" && charset !== "us-ascii") {
    throw new OneDataError("request.unsupported_media_type", `charset ${JSON.stringify(charset)} is not supported: send UTF-8`);
  }
  return type === "" ? undefined : (ALIASES[type] ?? type);
}

/** No header at all passes: what is not JSON will not parse. */
export function requireJson(mediaType: string | undefined, headers: IncomingHttpHeaders): void {
  if (mediaType === undefined || mediaType === "application/json" || /^application\/[a-z0-9.-]+\+json$/.test(mediaType)) return;
  throw new OneDataError(
    "request.unsupported_media_type",
    `${JSON.stringify(headers["content-type"])} is not supported: send content-type: application/json`,
  );
}

/** The media type to hand on; without a header the one that the route takes, if it takes one only. */
export function requireRawBody(raw: RawBody, mediaType: string | undefined): string {
  const [only, ...others] = raw.mediaTypes;
  if (mediaType === undefined && only !== undefined && others.length === 0) return only;
  if (mediaType !== undefined && raw.mediaTypes.includes(mediaType)) return mediaType;
  const got = mediaType === undefined ? "the content-type is missing" : `content-type ${JSON.stringify(mediaType)} is not supported`;
  throw new OneDataError("request.unsupported_media_type", `${got}: send one of ${raw.mediaTypes.join(", ")}`);
}

/** Compressed bodies belong to imports, which stream. */
export function refuseEncodedBody(headers: IncomingHttpHeaders): void {
  const encoding = headers["content-encoding"]?.trim().toLowerCase();
  if (encoding === undefined || encoding === "" || encoding === "identity") return;
  throw new OneDataError(
    "request.unsupported_media_type",
    `content-encoding ${JSON.stringify(encoding)} is not supported here: send the body as it is`,
  );
}
