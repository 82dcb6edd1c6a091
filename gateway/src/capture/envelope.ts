/** Other media types than JSON are captured as `{"mediaType", "text" | "base64"}`; a `parse.*` step opens them. */
import { isUtf8 } from "node:buffer";
import { mediaTypeOf } from "../rest/media-type.ts";

/**
 * `application/json` and `…+json` are JSON, and so is a body without a type. Returns the type of anything else.
 * Throws `request.unsupported_media_type` for JSON in another charset than UTF-8.
 */
export function toForeignMediaType(contentType: string | undefined): string | undefined {
  if (contentType === undefined || contentType === "application/json" || contentType === "") return undefined;
  const type = contentType.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (type !== "application/json" && !type.endsWith("+json")) return contentType;
  mediaTypeOf({ "content-type": contentType });
  return undefined;
}

/** Text where the bytes are UTF-8 without U+0000 (which no sink stores), else base64. */
export function toEnvelope(body: Buffer, mediaType: string): Buffer {
  const content = isUtf8(body) && !body.includes(0) ? { text: body.toString("utf8") } : { base64: body.toString("base64") };
  return Buffer.from(JSON.stringify({ mediaType, ...content }), "utf8");
}
