/** What a `parse.*` step opens: text in a member, or a payload of another media type, captured as `{"mediaType", "text" | "base64"}`. */
import { isJsonObject, type Json, OneDataError } from "@onedata/core";
import { decodeUtf8 } from "@onedata/formats";
import { getMember, type MemberPath } from "./member-path.ts";
import { describe } from "./outcomes.ts";

/** Throws `record.parse_failed`. */
export function capturedText(record: Json, path: MemberPath | undefined): string {
  const value = path === undefined ? record : getMember(record, path);
  const where = path === undefined ? "the record" : `"${path.text}"`;
  if (typeof value === "string") return value;
  if (isJsonObject(value) && typeof value["text"] === "string") return value["text"];
  if (isJsonObject(value) && typeof value["base64"] === "string") return decodeBase64(value["base64"], where);
  throw new OneDataError("record.parse_failed", `${where} is ${describe(value)}: text is needed, or a captured {"mediaType", "text" | "base64"}`);
}

function decodeBase64(base64: string, where: string): string {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(base64) || base64.length % 4 !== 0)
    throw new OneDataError("record.parse_failed", `${where} does not hold base64`);
  try {
    return decodeUtf8(Buffer.from(base64, "base64")).replace(/^\ufeff/, "");
  } catch (cause) {
    throw new OneDataError("record.parse_failed", `${where} is not text: ${OneDataError.from(cause).message}`, { cause });
  }
}
