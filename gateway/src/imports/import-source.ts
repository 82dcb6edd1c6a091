/** The body of an import as decompressed chunks. Whoever stops reading closes the request; a gateway that stops ends it with an error. */
import type { IncomingMessage } from "node:http";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { OneDataError } from "@onedata/core";

export async function* openSource(request: IncomingMessage, stopping: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
  const encoding = (request.headers["content-encoding"] ?? "identity").toLowerCase();
  const isGzip = encoding === "gzip" || encoding === "x-gzip";
  if (!isGzip && encoding !== "identity" && encoding !== "") {
    throw new OneDataError("request.unsupported_media_type", `Content-Encoding ${encoding.slice(0, 40)} is not taken: send gzip or plain bytes`);
  }
  // A large chunk at the far end of gunzip saves a callback per 16 KiB. The callback is where errors of either end are known; the reader gets them too.
  const stream: AsyncIterable<Buffer> & { destroy(error: Error): unknown } = isGzip
    ? pipeline(request, createGunzip({ chunkSize: 128 * 1024 }), () => undefined)
    : request;
  const stop = (): void =>
    void stream.destroy(
      new OneDataError(
        "service.unavailable",
        "the gateway is shutting down: send the import again with its Idempotency-Key and it goes on where it stands",
        { retryAfterSeconds: 5 },
      ),
    );
  stopping.addEventListener("abort", stop, { once: true });
  try {
    for await (const chunk of stream) yield chunk;
  } catch (error) {
    if (error instanceof OneDataError) throw error;
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    // Half a gzip file is an upload that was cut off; bytes that are no gzip are a fault of the sender.
    if (code === "Z_DATA_ERROR")
      throw new OneDataError("import.malformed", `the body is not valid gzip: ${error instanceof Error ? error.message : ""}`, { cause: error });
    if (code === "Z_BUF_ERROR")
      throw new OneDataError(
        "request.malformed",
        "the gzip body ends early: what was complete is captured; send the import again with its Idempotency-Key and it goes on where it stands",
        { cause: error },
      );
    throw new OneDataError("aborted", "the upload was cut off", { cause: error });
  } finally {
    stopping.removeEventListener("abort", stop);
  }
}

/** Looks whether there is any byte, without losing it. */
export async function peek(source: AsyncGenerator<Buffer, void, undefined>): Promise<{ source: AsyncIterable<Buffer>; isEmpty: boolean }> {
  for (;;) {
    const first = await source.next();
    if (first.done === true) return { source: none(), isEmpty: true };
    if (first.value.length > 0) return { source: prepend(first.value, source), isEmpty: false };
  }
}

async function* prepend(first: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  yield first;
  yield* rest;
}

// oxlint-disable-next-line require-yield -- it has nothing to yield
async function* none(): AsyncGenerator<Buffer, void, undefined> {
  return;
}
