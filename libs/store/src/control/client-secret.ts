/** Client secrets: made here, shown once, kept as `scrypt$N$r$p$salt$hash`. Secrets are 256 random bits, so the cost guards a leaked table, not weak passwords. */
import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";

const COST = 16_384;
const BLOCK = 8;
const PARALLEL = 1;
const HASH_BYTES = 32;

export const makeClientId = (): string => `client_${randomBytes(10).toString("hex")}`;
export const makeClientSecret = (): string => randomBytes(32).toString("base64url");

export async function hashSecret(secret: string): Promise<string> {
  const salt = randomBytes(16);
  const hash = await derive(secret, salt, { N: COST, r: BLOCK, p: PARALLEL }, HASH_BYTES);
  return ["scrypt", COST, BLOCK, PARALLEL, salt.toString("base64url"), hash.toString("base64url")].join("$");
}

/** False for a wrong secret and for a hash that is not ours. */
export async function verifySecret(secret: string, stored: string): Promise<boolean> {
  const [scheme, cost, block, parallel, salt, expected] = stored.split("$");
  if (scheme !== "scrypt" || salt === undefined || expected === undefined) return false;
  const wanted = Buffer.from(expected, "base64url");
  const hash = await derive(secret, Buffer.from(salt, "base64url"), { N: Number(cost), r: Number(block), p: Number(parallel) }, wanted.length);
  return timingSafeEqual(hash, wanted);
}

function derive(secret: string, salt: Buffer, cost: { N: number; r: number; p: number }, bytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(secret, salt, bytes, cost, (error, hash) => (error === null ? resolve(hash) : reject(error)));
  });
}
