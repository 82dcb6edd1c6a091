/** What every service of control needs from a call. */
import { OneDataError } from "@onedata/core";
import type { CallContext } from "@onedata/mesh";
import type { Actor } from "@onedata/store/control";

export const toActor = (context: CallContext): Actor => ({ name: storable(context.principal === "" ? context.caller : context.principal) });

/** Text that Postgres stores: it has no place for U+0000. */
export const storable = (text: string): string => text.replaceAll("\0", "\ufffd");

const DEFAULT_PAGE = 50;

export const toLimit = (pageSize: number): number => (pageSize === 0 ? DEFAULT_PAGE : pageSize);

/** Page tokens are opaque: base64url of the parts. */
export const toToken = (...parts: readonly (string | number | bigint)[]): string => Buffer.from(parts.join(" "), "utf8").toString("base64url");

/** The parts, or nothing for an empty token. Throws `request.invalid` for a token that is not ours. */
export function fromToken(token: string, pattern: RegExp): string[] | undefined {
  if (token === "") return undefined;
  const match = pattern.exec(Buffer.from(token, "base64url").toString("utf8"));
  if (match === null) {
    throw new OneDataError("request.invalid", "the page token is not one of this method", {
      violations: [{ pointer: "/pageToken", code: "page_token", detail: "take it from the previous page, unchanged" }],
    });
  }
  return match.slice(1);
}

export const BIG = String.raw`(\d{1,19})`;
export const INT = String.raw`(\d{1,9})`;
