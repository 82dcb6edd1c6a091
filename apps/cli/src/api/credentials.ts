/**
 * Which server, and as whom: ONEDATA_URL with ONEDATA_CLIENT_ID and ONEDATA_CLIENT_SECRET, else `client.json` of ONEDATA_HOME
 * (solo writes it; `./.onedata` if unset), else what `onedata login` kept. The file is readable by its owner only.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { isJsonObject } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import { exitCodes, Failure } from "../failure.ts";
import type { Terminal } from "../terminal.ts";

/** `scopes` are what the client was found to have; absent = not known yet. */
export type Credentials = { readonly url: string; readonly clientId: string; readonly clientSecret: string; readonly scopes?: readonly string[] };

export const credentialsPath = ({ env }: Terminal): string =>
  join(env["XDG_CONFIG_HOME"] ?? join(env["HOME"] ?? homedir(), ".config"), "onedata", "credentials.json");

export function readCredentials(terminal: Terminal): Credentials {
  const { env } = terminal;
  const [url, clientId, clientSecret] = [env["ONEDATA_URL"], env["ONEDATA_CLIENT_ID"], env["ONEDATA_CLIENT_SECRET"]];
  if (url !== undefined && clientId !== undefined && clientSecret !== undefined) return { url: withoutSlash(url), clientId, clientSecret };
  const places = [join(resolve(env["ONEDATA_HOME"] ?? ".onedata"), "client.json"), credentialsPath(terminal)];
  for (const path of places) {
    const found = readFile(path);
    if (found !== undefined) return { ...found, url: withoutSlash(url ?? found.url) };
  }
  throw new Failure(
    `no credentials in ${places.join(" or ")}: start OneData with \`npm start\`, set ONEDATA_HOME to its folder, or run \`onedata login\``,
    exitCodes.usage,
  );
}

/** By rename, so that a crash leaves the old file or the new one. */
export function writeCredentials(terminal: Terminal, credentials: Credentials): string {
  const path = credentialsPath(terminal);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, `${JSON.stringify(credentials, null, 2)}\n`, { mode: 0o600 });
  renameSync(temporary, path);
  return path;
}

function readFile(path: string): Credentials | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR")) return undefined;
    throw error;
  }
  const broken = new Failure(`${path} does not hold url, clientId and clientSecret: run \`onedata login\``, exitCodes.usage);
  let value: ReturnType<typeof parseJson>;
  try {
    value = parseJson(text);
  } catch {
    throw broken;
  }
  if (!isJsonObject(value)) throw broken;
  const { url, clientId, clientSecret, scopes } = value;
  if (typeof url !== "string" || typeof clientId !== "string" || typeof clientSecret !== "string") throw broken;
  return { url, clientId, clientSecret, ...(Array.isArray(scopes) ? { scopes: scopes.filter((scope) => typeof scope === "string") } : {}) };
}

const withoutSlash = (url: string): string => url.replace(/\/+$/, "");
