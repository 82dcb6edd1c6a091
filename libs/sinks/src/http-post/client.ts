/**
 * POSTs to addresses that tenants choose.
 *
 * On `node:http(s)` and not `undici`: what is needed is one method, keep-alive and a look at the address that is connected to; `lookup` of the platform's own client gives that,
 * it never follows a redirect by itself, and it is one dependency less in the one place that talks to strangers.
 *
 * Invariants:
 * 1. No connection is made to an address the policy refuses: literals are checked before, names when they are resolved for this very connection, and again at every redirect.
 * 2. Secret headers leave for the origin they were given for, and for no other.
 * 3. At most `MAX_ANSWER_BYTES` of an answer are read.
 */
import { type LookupAddress, lookup as resolve } from "node:dns";
import { Agent as HttpAgent, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { isIP, type LookupFunction } from "node:net";
import { OneDataError } from "@onedata/core";
import { createAddressPolicy } from "./address-policy.ts";

export type HttpClientOptions = {
  /** Host names, addresses or CIDR ranges beside the public internet. */
  readonly allowedAddresses?: readonly string[];
  readonly maxSocketsPerHost?: number;
  /** False: every 3xx is an answer like any other. */
  readonly followRedirects?: boolean;
};

export type HttpRequest = {
  readonly method: "POST" | "HEAD";
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** Sent to the URL's own origin only. */
  readonly secretHeaders: Readonly<Record<string, string>>;
  readonly body: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
};

export type HttpAnswer = { readonly status: number; readonly location: string | undefined; readonly text: string };

export interface HttpClient {
  /** Any status is an answer. Throws `network.address_refused`, `sink.unavailable`, `aborted`. */
  send(request: HttpRequest): Promise<HttpAnswer>;
  /** Resolves the name and throws `network.address_refused` if none of its addresses may be used. */
  checkAddress(url: URL): Promise<void>;
  close(): void;
}

const MAX_ANSWER_BYTES = 64 * 1024;
const MAX_REDIRECTS = 3;

export function createHttpClient(options: HttpClientOptions = {}): HttpClient {
  const policy = createAddressPolicy(options.allowedAddresses);
  const refusal = (host: string): OneDataError =>
    new OneDataError(
      "network.address_refused",
      `${host} is, or resolves to, a private or local address, which may not be reached from here: use a public address, or let the operator allow it`,
    );

  const resolveAllowed = (host: string, done: (error: Error | null, addresses: readonly LookupAddress[]) => void): void => {
    resolve(host, { all: true }, (error, addresses) => {
      if (error !== null) return done(error, []);
      const allowed = addresses.filter(({ address }) => policy.allows(address, host));
      return done(allowed.length === 0 ? refusal(host) : null, allowed);
    });
  };
  const lookup: LookupFunction = (host, { all }, callback) => {
    resolveAllowed(host, (error, addresses) => {
      const [first] = addresses;
      if (error !== null || first === undefined) callback(error ?? refusal(host), "");
      else if (all === true) callback(null, [...addresses]);
      else callback(null, first.address, first.family);
    });
  };
  const agentOptions = { keepAlive: true, maxSockets: options.maxSocketsPerHost ?? 8, maxTotalSockets: 256, timeout: 30_000 };
  const httpAgent = new HttpAgent(agentOptions);
  const httpsAgent = new HttpsAgent(agentOptions);

  const sendOnce = (
    url: URL,
    { method, headers, body, signal }: { method: string; headers: Record<string, string>; body: string; signal: AbortSignal },
  ): Promise<HttpAnswer> =>
    new Promise((settle, fail) => {
      const host = hostOf(url);
      if (isIP(host) !== 0 && !policy.allows(host, host)) return fail(refusal(host));
      const secure = url.protocol === "https:";
      const request = (secure ? httpsRequest : httpRequest)(
        url,
        {
          method,
          agent: secure ? httpsAgent : httpAgent,
          lookup,
          signal,
          headers: { ...headers, ...(method === "POST" ? { "content-length": String(Buffer.byteLength(body)) } : {}) },
        },
        (response) => {
          const chunks: Buffer[] = [];
          let bytes = 0;
          const answer = (): void =>
            settle({ status: response.statusCode ?? 0, location: response.headers.location, text: Buffer.concat(chunks).toString("utf8") });
          response.on("data", (chunk: Buffer) => {
            bytes += chunk.length;
            chunks.push(chunk);
            if (bytes > MAX_ANSWER_BYTES) {
              answer();
              response.destroy();
            }
          });
          response.on("end", answer);
          response.on("error", fail);
        },
      );
      request.on("error", fail);
      request.end(method === "POST" ? body : undefined);
      return undefined;
    });

  return {
    async send({ method, url, headers, secretHeaders, body, timeoutMs, signal }) {
      const timeout = AbortSignal.timeout(timeoutMs);
      const both = AbortSignal.any([signal, timeout]);
      let at = url;
      try {
        for (let hops = 0; ; hops++) {
          const answer = await sendOnce(at, {
            method,
            headers: at.origin === url.origin ? { ...headers, ...secretHeaders } : { ...headers },
            body,
            signal: both,
          });
          // 301, 302 and 303 would turn the POST into a GET: they are answers, and the caller says so.
          if ((answer.status !== 307 && answer.status !== 308) || answer.location === undefined || options.followRedirects === false) return answer;
          const next = URL.canParse(answer.location, at.href) ? new URL(answer.location, at) : undefined;
          if (
            next === undefined ||
            !/^https?:$/.test(next.protocol) ||
            hops === MAX_REDIRECTS ||
            (at.protocol === "https:" && next.protocol === "http:")
          ) {
            throw new OneDataError("sink.unavailable", `${describeUrl(at)} redirects to where a POST cannot follow, or too often: set the final URL`);
          }
          at = next;
        }
      } catch (error) {
        if (signal.aborted) throw new OneDataError("aborted", "the write was cancelled", { cause: error });
        if (error instanceof OneDataError) throw error;
        const code: unknown = error instanceof Error ? Reflect.get(error, "code") : undefined;
        const what = timeout.aborted ? `no answer within ${timeoutMs} ms` : typeof code === "string" ? code : "the connection failed";
        throw new OneDataError("sink.unavailable", `${describeUrl(at)}: ${what}`, { cause: error });
      }
    },
    checkAddress(url) {
      const host = hostOf(url);
      return new Promise((settle, fail) => {
        if (isIP(host) !== 0) return policy.allows(host, host) ? settle() : fail(refusal(host));
        resolveAllowed(host, (error) =>
          error === null
            ? settle()
            : fail(error instanceof OneDataError ? error : new OneDataError("sink.unavailable", `${host} cannot be resolved`, { cause: error })),
        );
        return undefined;
      });
    },
    close() {
      httpAgent.destroy();
      httpsAgent.destroy();
    },
  };
}

const hostOf = (url: URL): string => url.hostname.replace(/^\[(.*)\]$/, "$1");

/** Without query and user: they may hold secrets. */
export const describeUrl = (url: URL): string => `${url.origin}${url.pathname}`;
