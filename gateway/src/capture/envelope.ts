/** Other media types than JSON are captured as `{"mediaType", "text" | "base64"}`; a `parse.*` step opens them. */
import { isUtf8 } from "node:buffer";

/** `application/json` and `…+json` are JSON, and so is a body without a type. Returns the type of anything else. */
export function toForeignMediaType(contentType: string | undefined): string | undefined {
  if (contentType === undefined || contentType === "application/json" || contentType === "") return undefined;
  const type = contentType.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  return type === "application/json" || type.endsWith("+json") ? undefined : contentType;
}

/** Text where the bytes are UTF-8 without U+0000 (which no sink stores), else base64. */
export function toEnvelope(body: Buffer, mediaType: string): Buffer {
  const content = isUtf8(body) && !body.includes(0) ? { text: body.toString("utf8") } : { base64: body.toString("base64") };
  return Buffer.from(JSON.stringify({ mediaType, ...content }), "utf8");
}
