/**
 * Reads a bounded body. Callbacks instead of a promise chain: this runs once per captured event.
 * Invariants: never holds more than `maxBytes`; a client that goes away mid-body is `aborted`; who goes on sending a refused body is cut off (`sendProblem`).
 */
import type { IncomingMessage } from "node:http";
import { OneDataError } from "@onedata/core";

const EMPTY = Buffer.alloc(0);

export type OnBody = (error: OneDataError | undefined, body: Buffer) => void;

/** `grow` is told of each piece before it is kept; what it throws refuses the body. */
export function readBody(request: IncomingMessage, maxBytes: number, done: OnBody, grow?: (bytes: number) => void): void {
  const declared = request.headers["content-length"];
  if (declared !== undefined && Number(declared) > maxBytes) {
    done(tooLarge(maxBytes, `announces ${declared}`), EMPTY);
    return;
  }
  let first: Buffer | undefined;
  let more: Buffer[] | undefined;
  let size = 0;
  let finished = false;
  const finish = (error: OneDataError | undefined, body: Buffer): void => {
    if (finished) return;
    finished = true;
    done(error, body);
  };
  request.on("data", (chunk: Buffer) => {
    if (finished) return;
    size += chunk.length;
    const refusal = size > maxBytes ? tooLarge(maxBytes, "has more") : grow === undefined ? undefined : tryGrow(grow, chunk.length);
    if (refusal !== undefined) {
      first = more = undefined;
      finish(refusal, EMPTY);
    } else if (first === undefined) first = chunk;
    else (more ??= [first]).push(chunk);
  });
  request.on("end", () => finish(undefined, more === undefined ? (first ?? EMPTY) : Buffer.concat(more, size)));
  request.on("error", (cause) => finish(new OneDataError("aborted", "the client went away while sending", { cause }), EMPTY));
  request.on("close", () => {
    if (!request.complete) finish(new OneDataError("aborted", "the client went away while sending"), EMPTY);
  });
}

export function readBodyAsync(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    readBody(request, maxBytes, (error, body) => (error === undefined ? resolve(body) : reject(error)));
  });
}

function tryGrow(grow: (bytes: number) => void, bytes: number): OneDataError | undefined {
  try {
    grow(bytes);
    return undefined;
  } catch (error) {
    return OneDataError.from(error);
  }
}

export const tooLarge = (maxBytes: number, what: string): OneDataError =>
  new OneDataError("request.too_large", `the body ${what} bytes; the limit is ${maxBytes}: send less at once, or an import`);
