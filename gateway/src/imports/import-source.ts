/**
 * The body of an import as decompressed chunks. A gateway that stops ends it with an error.
 * Invariant: whoever stops reading leaves nothing behind but the request, which still has an answer to come.
 */
import type { IncomingMessage } from "node:http";
import { createGunzip, type Gunzip } from "node:zlib";
import { OneDataError } from "@onedata/core";

export async function* openSource(request: IncomingMessage, stopping: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
  const encoding = (request.headers["content-encoding"] ?? "identity").toLowerCase();
  const isGzip = encoding === "gzip" || encoding === "x-gzip";
  if (!isGzip && encoding !== "identity" && encoding !== "") {
    throw new OneDataError("request.unsupported_media_type", `Content-Encoding ${encoding.slice(0, 40)} is not taken: send gzip or plain bytes`);
  }
  const gunzip = isGzip ? unzip(request) : undefined;
  const stream = gunzip ?? request;
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
    // Not the stream's own iterator, which destroys what is not read to its end: the connection would go before its answer.
    for await (const chunk of stream.iterator({ destroyOnReturn: false })) yield chunk;
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
    if (gunzip !== undefined) {
      request.unpipe(gunzip);
      gunzip.destroy();
    }
  }
}

/** Ends with an error when the request does. */
function unzip(request: IncomingMessage): Gunzip {
  // A large chunk at the far end saves a callback per 16 KiB.
  const gunzip = createGunzip({ chunkSize: 128 * 1024 });
  request.on("error", (error) => gunzip.destroy(error));
  request.on("close", () => {
    if (!request.complete) gunzip.destroy(new Error("the request was cut off"));
  });
  return request.pipe(gunzip);
}

/** Chunks that can be given up before the first one is read. */
export type Source = Required<Pick<AsyncIterator<Buffer, void, undefined>, "return">> & AsyncIterableIterator<Buffer, void, undefined>;

/** Looks whether there is any byte, without losing it. */
export async function peek(source: Source): Promise<{ source: Source; isEmpty: boolean }> {
  for (;;) {
    const first = await source.next();
    if (first.done === true) return { source, isEmpty: true };
    if (first.value.length > 0) return { source: prepend(first.value, source), isEmpty: false };
  }
}

/** Not a generator: given up before its first `next`, that would never come to close `rest`. */
function prepend(first: Buffer, rest: Source): Source {
  let head: Buffer | undefined = first;
  return {
    async next() {
      if (head === undefined) return rest.next();
      const value = head;
      head = undefined;
      return { done: false, value };
    },
    return: () => rest.return(),
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
