/**
 * Encrypts secrets at rest: AES-256-GCM, bound to their place, so a row copied to another tenant or name does not open.
 * Stored form: version (1 byte) | nonce (12) | tag (16) | ciphertext.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import { OneDataError } from "@onedata/core";

export interface SecretBox {
  /** Names the key, so a wrong one is told from a damaged secret. */
  readonly keyId: string;
  seal(plain: string, place: string): Uint8Array;
  /** Throws `config.problems` when the key is another one, or the secret is not of this place. */
  open(sealed: Uint8Array, place: string): string;
}

const VERSION = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** `key`: 32 bytes as base64 or hex, e.g. from `openssl rand -base64 32`. */
export function createSecretBox(key: string): SecretBox {
  const bytes = /^[0-9a-fA-F]{64}$/.test(key) ? Buffer.from(key, "hex") : Buffer.from(key, "base64");
  if (bytes.length !== 32) {
    throw new OneDataError(
      "config.problems",
      `the secret key has ${bytes.length} bytes; ONEDATA_SECRET_KEY must be 32 bytes as base64 or hex (openssl rand -base64 32)`,
    );
  }
  return {
    keyId: createHash("sha256").update("onedata-secret-key\0").update(bytes).digest("hex").slice(0, 12),
    seal(plain, place) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", bytes, nonce).setAAD(Buffer.from(place, "utf8"));
      const text = Buffer.concat([cipher.update(plain, "utf8"), cipher.final()]);
      return Buffer.concat([Buffer.of(VERSION), nonce, cipher.getAuthTag(), text]);
    },
    open(sealed, place) {
      const data = Buffer.from(sealed);
      try {
        if (data[0] !== VERSION) throw new Error(`unknown version ${data[0]}`);
        const nonce = data.subarray(1, 1 + NONCE_BYTES);
        const tag = data.subarray(1 + NONCE_BYTES, 1 + NONCE_BYTES + TAG_BYTES);
        const decipher = createDecipheriv("aes-256-gcm", bytes, nonce, { authTagLength: TAG_BYTES })
          .setAAD(Buffer.from(place, "utf8"))
          .setAuthTag(tag);
        return Buffer.concat([decipher.update(data.subarray(1 + NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString("utf8");
      } catch (cause) {
        throw new OneDataError(
          "config.problems",
          "a stored secret cannot be decrypted: ONEDATA_SECRET_KEY is not the key it was encrypted with; set it back, or store the secrets again",
          { cause },
        );
      }
    },
  };
}
