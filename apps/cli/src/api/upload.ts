/**
 * A body of any size to an import route, streamed: `fetch` would lose the answer of a server that refuses before it has read everything.
 * Invariant: memory is bounded by the socket's buffers; a slow server slows the file.
 */
import { request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { Readable } from "node:stream";
import type { JsonObject } from "@onedata/core";
import { Refused } from "../failure.ts";
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
    const source = Readable.from(body, { objectMode: false });
    const outgoing = send(url, { method: "POST", headers: { authorization: `Bearer ${token}`, ...headers }, signal }, (response) => {
      void readAnswer(response)
        .then(resolve, reject)
        .finally(() => source.destroy());
    });
    // A refusal may come as an answer and a cut connection: the answer counts, so its bytes get a moment to be read.
    outgoing.on("error", (error) => setImmediate(() => setTimeout(() => reject(unreachable(url, error)), 50)));
    source.on("error", (error) => {
      outgoing.destroy();
      reject(error);
    });
    source.pipe(outgoing);
  });
}

async function readAnswer(response: IncomingMessage): Promise<JsonObject> {
  let text = "";
  response.setEncoding("utf8");
  for await (const chunk of response) text += String(chunk);
  const answer = readObject(text);
  if ((response.statusCode ?? 500) >= 400) throw new Refused(response.statusCode ?? 500, answer);
  return answer;
}
