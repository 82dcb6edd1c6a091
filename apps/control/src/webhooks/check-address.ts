/** Whether messages may go to an address: https to a public one, or what the operator has named. Addresses are checked again whenever a connection is made. */
import { OneDataError } from "@onedata/core";
import { type AddressPolicy, describeUrl, type HttpClient } from "@onedata/sinks";

const refusal = (detail: string, code = "webhook.url"): OneDataError =>
  new OneDataError("request.invalid", `url: ${detail}`, { violations: [{ pointer: "/url", code, detail }] });

/** Returns it as it is kept. Throws `request.invalid` and `network.address_refused`. */
export async function checkWebhookUrl(text: string, { policy, client }: { policy: AddressPolicy; client: HttpClient }): Promise<string> {
  if (!URL.canParse(text)) throw refusal("is no URL; give https://host/path");
  const url = new URL(text);
  if (url.protocol !== "https:" && url.protocol !== "http:") throw refusal("must begin with https://");
  if (url.username !== "" || url.password !== "") throw refusal("holds a user or password: messages are signed instead, check the signature");
  if (url.protocol === "http:" && !policy.names(url.hostname.replace(/^\[(.*)\]$/, "$1")))
    throw refusal("must begin with https://; http:// is for hosts that the operator has named in ONEDATA_ALLOWED_ADDRESSES");
  url.hash = "";
  try {
    await client.checkAddress(url);
  } catch (error) {
    const known = OneDataError.from(error);
    if (known.code === "network.address_refused") throw known;
    throw refusal(`${describeUrl(url)}: ${known.message}`);
  }
  return url.href;
}
