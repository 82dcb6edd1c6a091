/**
 * The REST API as commands call it: JSON in and out, problems thrown as `Refused`, pages followed, NDJSON streams read line by line.
 * Invariants: one token per process, kept in memory; numbers beyond double precision survive; memory of a list or a stream is one page.
 */
import { isJsonObject, type Json, type JsonObject } from "@onedata/core";
import { parseJson, readNdjson, stringifyJson } from "@onedata/formats";
import { Refused } from "../failure.ts";
import type { Credentials } from "./credentials.ts";
import { reach } from "./reach.ts";
import { fetchToken, type Token } from "./token.ts";

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;
export type CallOptions = {
  readonly query?: Query;
  readonly body?: JsonObject;
  /** A body that is not the API's own JSON. */
  readonly content?: { readonly data: string | Uint8Array<ArrayBuffer>; readonly mediaType: string };
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
};

export interface Api {
  readonly url: string;
  get(path: string, query?: Query): Promise<JsonObject>;
  call(method: "POST" | "PUT" | "DELETE" | "GET", path: string, options?: CallOptions): Promise<JsonObject>;
  /** The body as it came, byte for byte. */
  text(path: string): Promise<string>;
  /** Items of a list, over its pages, at most `limit`. */
  list(path: string, member: string, options: { readonly query?: Query; readonly limit: number }): Promise<JsonObject[]>;
  /** One object per line of an NDJSON stream. */
  stream(path: string): AsyncGenerator<JsonObject, void, undefined>;
  token(): Promise<Token>;
}

const TIMEOUT_MS = 60_000;
const PAGE = 500;

export const segment = (name: string): string => encodeURIComponent(name);

export function createApi(credentials: Credentials, signal: AbortSignal): Api {
  let known: Promise<Token> | undefined;
  const token = (): Promise<Token> => (known ??= fetchToken(credentials, signal));

  async function send(method: string, path: string, { query = {}, body, content, headers = {}, timeoutMs }: CallOptions): Promise<Response> {
    const url = credentials.url + path + toSearch(query);
    const sent = content ?? (body === undefined ? undefined : { data: stringifyJson(body), mediaType: "application/json" });
    const request = async (): Promise<Response> =>
      reach(url, {
        method,
        headers: { authorization: `Bearer ${(await token()).token}`, ...(sent === undefined ? {} : { "content-type": sent.mediaType }), ...headers },
        ...(sent === undefined ? {} : { body: sent.data }),
        signal: timeoutMs === 0 ? signal : AbortSignal.any([signal, AbortSignal.timeout(timeoutMs ?? TIMEOUT_MS)]),
      });
    let response = await request();
    if (response.status === 401) {
      // A tail outlives its token.
      known = undefined;
      response = await request();
    }
    if (!response.ok) throw new Refused(response.status, readObject(await response.text()));
    return response;
  }

  const api: Api = {
    url: credentials.url,
    token,
    call: async (method, path, options = {}) => readObject(await (await send(method, path, options)).text()),
    text: async (path) => (await send("GET", path, {})).text(),
    get: (path, query = {}) => api.call("GET", path, { query }),
    async list(path, member, { query = {}, limit }) {
      const items: JsonObject[] = [];
      let pageToken = "";
      do {
        const page = await api.get(path, { ...query, pageSize: Math.min(limit - items.length, PAGE), ...(pageToken === "" ? {} : { pageToken }) });
        const found = page[member];
        if (Array.isArray(found)) items.push(...found.filter(isJsonObject));
        pageToken = typeof page["nextPageToken"] === "string" && Array.isArray(found) && found.length > 0 ? page["nextPageToken"] : "";
      } while (pageToken !== "" && items.length < limit);
      return items.slice(0, limit);
    },
    async *stream(path) {
      const response = await send("GET", path, { headers: { accept: "application/x-ndjson" }, timeoutMs: 0 });
      if (response.body === null) return;
      // Node's web streams are async iterables; the DOM's type does not say so.
      const chunks: AsyncIterable<Uint8Array> = response.body;
      for await (const items of readNdjson(chunks, { maxRecordBytes: 1024 * 1024 })) {
        for (const item of items) {
          if (item.kind !== "record" || !isJsonObject(item.value)) continue;
          const problem = item.value["problem"];
          if (isJsonObject(problem) && Object.keys(item.value).length === 1) throw new Refused(500, problem);
          yield item.value;
        }
      }
    },
  };
  return api;
}

export function readObject(body: string): JsonObject {
  try {
    const value: Json = parseJson(body === "" ? "{}" : body);
    return isJsonObject(value) ? value : { value };
  } catch {
    return { detail: `the answer is no JSON: ${body.slice(0, 200)}` };
  }
}

export function toSearch(query: Query): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== "") search.set(name, String(value));
  const text = search.toString();
  return text === "" ? "" : `?${text}`;
}
