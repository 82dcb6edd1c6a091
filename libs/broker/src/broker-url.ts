/** Reads the URL of a broker, with the files it names. Duty: every problem in one sentence that never shows a secret. */
import { readFile } from "node:fs/promises";
import { OneDataError } from "@onedata/core";

export type ServerAddress = {
  readonly host: string;
  readonly port: number;
  readonly tls: { readonly ca: string | undefined } | undefined;
  readonly token: string | undefined;
};

export type BrokerAddress =
  | { readonly scheme: "none" }
  | ({ readonly scheme: "kubemq" } & ServerAddress)
  | ({
      readonly scheme: "nats";
      readonly user: string | undefined;
      readonly password: string | undefined;
      readonly stream: string;
      /** Of the stream, where it has to be made; undefined leaves them to the server. */
      readonly replicas: number | undefined;
    } & ServerAddress);

const KNOWN = "none:, kubemq://host:50000, kubemqs://host:50000, nats://host:4222";
const DEFAULT_PORTS = { kubemq: 50_000, nats: 4222 } as const;
const OPTIONS = { kubemq: ["tls", "ca", "token", "tokenFile"], nats: ["tls", "ca", "token", "tokenFile", "stream", "replicas"] } as const;

/** Throws `config.problems`. */
export async function readBrokerUrl(text: string): Promise<BrokerAddress> {
  if (text === "none:") return { scheme: "none" };
  const [, scheme = "", rest = ""] = /^([a-z]+):\/\/(.+)$/.exec(text) ?? [];
  const known = scheme === "kubemqs" ? "kubemq" : scheme;
  if (known !== "kubemq" && known !== "nats") throw problem(`unknown scheme ${JSON.stringify(schemeOf(text))}; known: ${KNOWN}`);
  const url = parse(rest);
  if (url === undefined || url.hostname === "") throw problem(`${known}:// needs a host and a port, like ${known}://host:${DEFAULT_PORTS[known]}`);
  const at = redactBrokerUrl(text);
  if (url.pathname !== "" && url.pathname !== "/") throw problem(`${at}: nothing may follow the port but options (?tls=true)`);
  if (known === "kubemq" && (url.username !== "" || url.password !== "")) throw problem(`${at}: KubeMQ knows no user; give ?token= or ?tokenFile=`);
  const option = (name: string): string | undefined => url.searchParams.get(name) ?? undefined;
  for (const name of url.searchParams.keys()) {
    if (!(OPTIONS[known] as readonly string[]).includes(name))
      throw problem(`${at}: unknown option ${JSON.stringify(name)}; known: ${OPTIONS[known].join(", ")}`);
  }
  const tls = option("tls") ?? (scheme === "kubemqs" || option("ca") !== undefined ? "true" : "false");
  if (tls !== "true" && tls !== "false") throw problem(`${at}: tls is ${JSON.stringify(tls)}; it is true or false`);
  if (tls === "false" && (scheme === "kubemqs" || option("ca") !== undefined)) throw problem(`${at}: tls=false contradicts the rest of the address`);
  const ca = option("ca");
  const tokenFile = option("tokenFile");
  const bareUser = url.username !== "" && url.password === "";
  const server: ServerAddress = {
    host: url.hostname,
    port: url.port === "" ? DEFAULT_PORTS[known] : Number(url.port),
    tls: tls === "true" ? { ca: ca === undefined ? undefined : await read(at, "ca", ca) } : undefined,
    token:
      option("token") ??
      (tokenFile === undefined ? (bareUser ? decodeURIComponent(url.username) : undefined) : (await read(at, "tokenFile", tokenFile)).trim()),
  };
  if (known === "kubemq") return { scheme: "kubemq", ...server };
  const stream = option("stream") ?? "onedata";
  if (!/^[A-Za-z0-9_-]{1,32}$/.test(stream)) throw problem(`${at}: stream ${JSON.stringify(stream)} is not 1 to 32 letters, digits, "_" and "-"`);
  const replicas = option("replicas");
  if (replicas !== undefined && !/^[1-5]$/.test(replicas)) throw problem(`${at}: replicas is ${JSON.stringify(replicas)}; it is 1 to 5`);
  return {
    scheme: "nats",
    ...server,
    user: url.password === "" ? undefined : decodeURIComponent(url.username),
    password: url.password === "" ? undefined : decodeURIComponent(url.password),
    stream,
    replicas: replicas === undefined ? undefined : Number(replicas),
  };
}

/** The URL as it may stand in logs and messages: no user, password or token. */
export const redactBrokerUrl = (text: string): string => text.replace(/\/\/[^/]*@/, "//***@").replace(/([?&]token=)[^&]*/g, "$1***");

// The URL class treats only a few schemes as having a host with all its rules (default ports are dropped for http: a scheme of our own keeps them).
const parse = (rest: string): URL | undefined => {
  try {
    return new URL(`broker://${rest}`);
  } catch {
    return undefined;
  }
};

const schemeOf = (text: string): string => /^[a-z0-9+.-]*:?/i.exec(text)?.[0] ?? "";

async function read(at: string, option: string, path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw problem(`${at}: the file of ${option}, ${JSON.stringify(path)}, cannot be read`, cause);
  }
}

const problem = (why: string, cause?: unknown): OneDataError => new OneDataError("config.problems", `broker: ${why}`, { cause });
