/** An access token (client_credentials). The token endpoint wants scopes by name and refuses those that a client lacks, so they are found by asking. */
import { isJsonObject, type Json } from "@onedata/core";
import { parseJson } from "@onedata/formats";
import { exitCodes, Failure } from "../failure.ts";
import type { Credentials } from "./credentials.ts";
import { reach } from "./reach.ts";

const SCOPES = ["admin", ...["connections", "events", "lookups", "pipelines", "tenant"].flatMap((of) => [`${of}:read`, `${of}:write`])];

export type Token = { readonly token: string; readonly scopes: readonly string[] };

export async function fetchToken(credentials: Credentials, signal: AbortSignal): Promise<Token> {
  let scopes: readonly string[] = credentials.scopes ?? SCOPES;
  while (scopes.length > 0) {
    const body = new URLSearchParams({
      grant_type: "client_credentials",
      client_id: credentials.clientId,
      client_secret: credentials.clientSecret,
      scope: scopes.join(" "),
    });
    const response = await reach(`${credentials.url}/oauth2/token`, { method: "POST", body, signal });
    const answer = readAnswer(await response.text());
    if (typeof answer["access_token"] === "string") return { token: answer["access_token"], scopes };
    const refused = /^"([^"]+)" is an invalid scope/.exec(text(answer["error_description"]))?.[1];
    if (answer["error"] !== "invalid_scope" || refused === undefined || !scopes.includes(refused)) {
      throw new Failure(
        `${credentials.url} does not accept client ${credentials.clientId}: ${text(answer["error_description"]) || `status ${response.status}`}; run \`onedata login\``,
      );
    }
    scopes = scopes.filter((scope) => scope !== refused);
  }
  throw new Failure(`client ${credentials.clientId} has no scope that this program knows`, exitCodes.problem);
}

function readAnswer(body: string): { readonly [member: string]: Json } {
  try {
    const value = parseJson(body);
    return isJsonObject(value) ? value : {};
  } catch {
    return {};
  }
}

const text = (value: Json | undefined): string => (typeof value === "string" ? value : "");
