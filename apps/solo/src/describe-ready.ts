/** What a person sees when OneData is up: where it is, who may call, and a curl to paste. */
import type { SoloReady } from "./solo.ts";

export function describeReady({ url, client, home, isFirstStart }: SoloReady, tookMs: number): string {
  const credentials = isFirstStart
    ? `First client    ${client.clientId}  secret ${client.clientSecret}  (shown once; kept in ${home}/client.json)`
    : `Client          ${client.clientId}  (secret in ${home}/client.json)`;
  return `
OneData is ready at ${url}  (${(tookMs / 1000).toFixed(1)} s; Ctrl-C drains and stops)
${credentials}
Data            ${home}
API             ${url}/docs

Send an event:
  TOKEN=$(curl -s ${url}/oauth2/token -d grant_type=client_credentials -d 'scope=events:write events:read pipelines:read' -d client_id=${client.clientId} -d client_secret=${isFirstStart ? client.clientSecret : `$(node -p 'require("${home}/client.json").clientSecret')`} | sed 's/.*"access_token":"\\([^"]*\\)".*/\\1/')
  curl -s ${url}/v1/pipelines/orders/events -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"id": 1, "price": 2, "quantity": 3}'
`;
}
