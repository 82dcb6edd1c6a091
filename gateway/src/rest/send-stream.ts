/**
 * A server stream as NDJSON.
 * Invariants: one message, one line; a slow reader slows the backend (nothing is queued here); an error before the first line is an ordinary problem; an error
 * after it is a last line `{"problem": …}` and a connection cut short, so that an incomplete stream is never taken for a complete one.
 */

import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { type DescMessage, fromBinary } from "@bufbuild/protobuf";
import { messageToJsonText } from "@onedata/contracts";
import { OneDataError } from "@onedata/core";

/** X-Accel-Buffering: nginx, and so Kong, would hold the lines back. */
export const STREAM_HEADERS = { "content-type": "application/x-ndjson", "cache-control": "no-store", "x-accel-buffering": "no" };

/** A quiet stream still shows its headers after this time: by then a refusal would have come. */
const QUIET_MS = 500;

export async function sendStream(response: ServerResponse, desc: DescMessage, messages: AsyncIterable<Uint8Array>): Promise<void> {
  const iterator = messages[Symbol.asyncIterator]();
  const first = iterator.next();
  const quiet = setTimeout(() => start(response), QUIET_MS);
  try {
    let next = await first;
    clearTimeout(quiet);
    start(response);
    while (next.done !== true && !response.destroyed) {
      const line = `${messageToJsonText(desc, fromBinary(desc, next.value), { singleLine: true })}\n`;
      if (!response.write(line)) await drained(response);
      next = await iterator.next();
    }
    response.end();
  } catch (error) {
    if (!response.headersSent) throw error;
    await cutShort(response, error);
  } finally {
    clearTimeout(quiet);
    await iterator.return?.();
  }
}

function start(response: ServerResponse): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(200, STREAM_HEADERS);
  response.flushHeaders();
}

async function drained(response: ServerResponse): Promise<void> {
  if (response.destroyed) return;
  const gone = new AbortController();
  try {
    await Promise.race([once(response, "drain", { signal: gone.signal }), once(response, "close", { signal: gone.signal })]);
  } finally {
    gone.abort();
  }
}

function cutShort(response: ServerResponse, error: unknown): Promise<void> {
  if (response.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    response.write(`${JSON.stringify({ problem: OneDataError.from(error).toProblem() })}\n`, () => {
      response.destroy();
      resolve();
    });
  });
}
