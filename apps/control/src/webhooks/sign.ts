/**
 * Standard Webhooks, symmetric: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 * The signature is HMAC-SHA256 over `id.timestamp.body` with the bytes of the secret, as `v1,` and base64; after a rotation there is one per secret.
 */
import { createHmac, randomBytes } from "node:crypto";

const PREFIX = "whsec_";
/** The specification allows 24 to 64. */
const SECRET_BYTES = 32;

export const makeWebhookSecret = (): string => PREFIX + randomBytes(SECRET_BYTES).toString("base64");

export type Signed = {
  readonly id: string;
  /** Of this try. */
  readonly unixSeconds: number;
  readonly body: string;
};

export function webhookHeaders({ id, unixSeconds, body }: Signed, secrets: readonly string[]): Record<string, string> {
  const signatures = secrets.map((secret) => {
    const key = Buffer.from(secret.slice(PREFIX.length), "base64");
    return `v1,${createHmac("sha256", key).update(`${id}.${unixSeconds}.${body}`, "utf8").digest("base64")}`;
  });
  return { "webhook-id": id, "webhook-timestamp": String(unixSeconds), "webhook-signature": signatures.join(" ") };
}
