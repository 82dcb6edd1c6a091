/**
 * Access tokens without state: base64url(expiry u32, principal id u64, scopes) + "." + base64url(HMAC-SHA256).
 * Any gateway with the installation's key verifies them; what they may still do is the principal's row, looked at each second.
 */
import { createHmac, timingSafeEqual } from "node:crypto";

export type TokenClaims = { readonly principalId: bigint; readonly scopes: readonly string[]; readonly expiresAtSeconds: number };

const HEADER_BYTES = 12;

export function signToken(key: Buffer, claims: TokenClaims): string {
  const scopes = Buffer.from(claims.scopes.join(" "), "utf8");
  const payload = Buffer.alloc(HEADER_BYTES + scopes.length);
  payload.writeUInt32BE(claims.expiresAtSeconds, 0);
  payload.writeBigUInt64BE(claims.principalId, 4);
  scopes.copy(payload, HEADER_BYTES);
  return `${payload.toString("base64url")}.${sign(key, payload).toString("base64url")}`;
}

/** The claims of a token that this key signed, expired or not; undefined for anything else. */
export function verifyToken(key: Buffer, token: string): TokenClaims | undefined {
  const dot = token.indexOf(".");
  if (dot < 0 || token.length > 4096) return undefined;
  const payload = Buffer.from(token.slice(0, dot), "base64url");
  const signature = Buffer.from(token.slice(dot + 1), "base64url");
  const expected = sign(key, payload);
  if (payload.length < HEADER_BYTES || signature.length !== expected.length || !timingSafeEqual(signature, expected)) return undefined;
  const scopes = payload.toString("utf8", HEADER_BYTES);
  return { expiresAtSeconds: payload.readUInt32BE(0), principalId: payload.readBigUInt64BE(4), scopes: scopes === "" ? [] : scopes.split(" ") };
}

const sign = (key: Buffer, payload: Buffer): Buffer => createHmac("sha256", key).update("onedata-token-1\0").update(payload).digest();
