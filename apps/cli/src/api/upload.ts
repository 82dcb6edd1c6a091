/**
 * A body of any size to an import route, streamed: `fetch` would lose the answer of a server that refuses before it has read everything.
 * Invariant: memory is bounded by the socket's buffers; a slow server slows the file.
 *
 * A refusal and a cut connection race: who still writes may get the cut before the answer. So the first piece goes alone, with a moment for a refusal,
 * and a cut without an answer is asked about (an empty body changes nothing).
 */
import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { Readable } from "node:stream";
import type { JsonObject } from "@onedata/core";
import { exitCodes, Failure, Refused } from "../failure.ts";
import { type Api, type Query, readObject, toSearch } from "./api.ts";
import { unreachable } from "./reach.ts";

export type Upload = {
  readonly path: string;
  readonly query: Query;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
};

export async function upload(api: Api, { path, query, headers, body, signal }: Upload): Promise<JsonObject> {
  const url = api.url + path + toSearch(query);
  const { token } = await api.token();
  const send = url.startsWith("https:") ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const source = Readable.from(firstAlone(body), { objectMode: false });
    const outgoing = send(url, { method: "POST", headers: { authorization: `Bearer ${token}`, ...headers }, signal }, (response) => {
      void readAnswer(response)
        .then(resolve, reject)
        .finally(() => source.destroy());
    });
    outgoing.on("error", (error) => void explainCut(api, { path, headers, url, error }).then(reject, reject));
    source.on("error", (error) => {
      outgoing.destroy();
      reject(error);
    });
    source.pipe(outgoing);
  });
}

const FIRST_ALONE_MS = 100;

async function* firstAlone(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  let isFirst = true;
  for await (const chunk of body) {
    yield chunk;
    if (isFirst) await new Promise((resolve) => setTimeout(resolve, FIRST_ALONE_MS));
    isFirst = false;
  }
}

type Cut = { readonly path: string; readonly headers: Upload["headers"]; readonly url: string; readonly error: Error };

/** The reason of a cut connection, as far as it can be known. */
async function explainCut(api: Api, { path, headers, url, error }: Cut): Promise<unknown> {
  const code = "code" in error ? error.code : undefined;
  if (code !== "EPIPE" && code !== "ECONNRESET") return unreachable(url, error);
  try {
    const { "content-encoding": _, ...plain } = headers;
    await api.call("POST", path, { headers: plain });
  } catch (refusal) {
    if (!(refusal instanceof Refused) || (refusal.code !== "import.malformed" && refusal.code !== "import.not_found")) return refusal;
  }
  return new Failure(
    "the server ended the upload before it had everything; `onedata imports` shows how far it came. If the file has changed since it was begun under this --key, take a new key",
    exitCodes.problem,
    error,
  );
}

async function readAnswer(response: IncomingMessage): Promise<JsonObject> {
  let text = "";
  response.setEncoding("utf8");
  for await (const chunk of response) text += String(chunk);
  const answer = readObject(text);
  if ((response.statusCode ?? 500) >= 400) throw new Refused(response.statusCode ?? 500, answer);
  return answer;
}
