/**
 * The sender of the end-to-end tests: numbered events at a steady rate, each with an Idempotency-Key, each sent again until it is acknowledged.
 * What a careful client does; so whatever is lost or doubled after that is ours.
 */
import { Agent, request } from "node:http";
import type { World } from "../world/world.ts";

export interface NumberedEvents {
  /** Numbers whose sending was answered with 2xx. */
  readonly acknowledged: ReadonlySet<number>;
  readonly sent: number;
  /** When each number was due, in milliseconds of the wall clock. */
  readonly dueMs: ReadonlyMap<number, number>;
  /** Tries that failed or were answered with anything but 2xx. */
  readonly retries: number;
  /** Answers that were neither 2xx nor a reason to try again, e.g. 400. */
  readonly refusals: readonly string[];
  /** Sends no new events and waits until all are acknowledged. Throws when they are not in time. */
  finish(timeoutMs: number): Promise<void>;
  /** Gives up on what was not acknowledged. */
  abandon(): void;
}

/** Where the world is now: another one after a restart on another port. */
export type Where = () => Pick<World, "url" | "api">;

const TRY_TIMEOUT_MS = 5_000;
const RETRY_MS = 100;

/** A rate that is a function is asked again and again: it may change. */
export function sendNumbered(where: Where, path: string, ratePerSecond: number | (() => number)): NumberedEvents {
  const agent = new Agent({ keepAlive: true, maxSockets: 128 });
  const acknowledged = new Set<number>();
  const refusals: string[] = [];
  const open = new Set<number>();
  const dueMs = new Map<number, number>();
  const rate = typeof ratePerSecond === "number" ? () => ratePerSecond : ratePerSecond;
  let [lastMs, due] = [performance.now(), 0];
  let [next, retries, abandoned] = [0, 0, false];

  const send = (number: number): void => {
    if (abandoned) return;
    const { url, api } = where();
    const body = JSON.stringify({ n: number, text: `event ${number}` });
    const again = (): void => {
      retries += 1;
      setTimeout(send, RETRY_MS, number);
    };
    const headers = {
      authorization: `Bearer ${api.token}`,
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
      "idempotency-key": `event-${number}`,
    };
    let settled = false;
    const sending = request(new URL(path, url), { method: "POST", agent, headers, timeout: TRY_TIMEOUT_MS }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.on("end", () => {
        settled = true;
        const status = response.statusCode ?? 0;
        if (status >= 200 && status < 300) {
          acknowledged.add(number);
          open.delete(number);
        } else {
          if (status >= 400 && status < 500 && status !== 429 && refusals.length < 20) refusals.push(`${status} ${text.slice(0, 300)}`);
          again();
        }
      });
      response.on("error", () => undefined);
    });
    sending.on("timeout", () => sending.destroy());
    sending.on("close", () => {
      if (settled) return;
      settled = true;
      again();
    });
    sending.on("error", () => undefined);
    sending.end(body);
  };

  const timer = setInterval(() => {
    const now = performance.now();
    due += ((now - lastMs) / 1000) * rate();
    lastMs = now;
    while (next < Math.floor(due)) {
      open.add(next);
      dueMs.set(next, Date.now());
      send(next);
      next += 1;
    }
  }, 2);

  return {
    acknowledged,
    refusals,
    dueMs,
    get sent() {
      return next;
    },
    get retries() {
      return retries;
    },
    async finish(timeoutMs) {
      clearInterval(timer);
      for (const deadline = performance.now() + timeoutMs; open.size > 0; ) {
        if (performance.now() > deadline)
          throw new Error(`${open.size} events were not acknowledged within ${timeoutMs / 1000} s, e.g. ${[...open][0]}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      agent.destroy();
    },
    abandon() {
      abandoned = true;
      clearInterval(timer);
      agent.destroy();
    },
  };
}
