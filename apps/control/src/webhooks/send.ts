/** One try of one message. Any outcome is a value; only being stopped throws (`aborted`). */
import { OneDataError } from "@onedata/core";
import type { HttpAnswer, HttpClient } from "@onedata/sinks";
import { webhookHeaders } from "./sign.ts";

export type Attempt = { readonly kind: "delivered" | "failed" | "gone"; readonly result: string };

export type Outgoing = {
  readonly url: string;
  readonly id: string;
  readonly body: string;
  /** The current one first. */
  readonly secrets: readonly string[];
  readonly nowMs: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
};

const MAX_EXCERPT = 200;

export async function sendWebhook(client: HttpClient, { url, id, body, secrets, nowMs, timeoutMs, signal }: Outgoing): Promise<Attempt> {
  const startedAt = performance.now();
  try {
    const answer = await client.send({
      method: "POST",
      url: new URL(url),
      headers: {
        "content-type": "application/json",
        "user-agent": "OneData-Webhooks/1",
        ...webhookHeaders({ id, unixSeconds: Math.floor(nowMs / 1000), body }, secrets),
      },
      secretHeaders: {},
      body,
      timeoutMs,
      signal,
    });
    return judge(answer, Math.round(performance.now() - startedAt));
  } catch (error) {
    const { code, message } = OneDataError.from(error);
    if (code === "aborted") throw error;
    return { kind: "failed", result: message };
  }
}

function judge({ status, text, location }: HttpAnswer, tookMs: number): Attempt {
  const answered = `${status} after ${tookMs} ms`;
  if (status >= 200 && status < 300) return { kind: "delivered", result: answered };
  if (status === 410) return { kind: "gone", result: "the receiver answered 410 Gone, so the subscription was disabled; update it to send again" };
  if (status >= 300 && status < 400)
    return { kind: "failed", result: `${answered}: redirects are not followed${location === undefined ? "" : ", set the final address"}` };
  const excerpt = text
    .slice(0, MAX_EXCERPT)
    .replaceAll(/[\p{Cc}\s]+/gu, " ")
    .trim();
  return { kind: "failed", result: excerpt === "" ? answered : `${answered}: ${excerpt}` };
}
